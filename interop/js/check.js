// Checks a macula-node as a js-libp2p peer sees it, and prints what holds:
//
//   node check.js MULTIADDR REALM [NEIGHBOUR]
//
// MULTIADDR, with /p2p, is where the node is, REALM the one that it serves and
// NEIGHBOUR the multiaddr of a node that it knows. --test-reporter=tap before
// check.js prints for programs.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { multiaddr } from '@multiformats/multiaddr'
import { expect, same } from './compare.js'
import { bin, frame, type } from './frame.js'
import { PATIENCE, PROTOCOL, dial, newPeer, nodeId, sha256, talk } from './peer.js'

const [addr, realm, neighbour] = process.argv.slice(2)
if (!addr || !realm) {
  console.error('usage: node check.js MULTIADDR REALM [NEIGHBOUR]')
  process.exit(2)
}

let peer, node // the peer that asks, and its connection to the node
before(async () => {
  peer = await newPeer()
  node = await dial(peer, addr)
}, { timeout: PATIENCE })
after(() => peer?.stop())

const check = (name, run) => test(name, { timeout: 3 * PATIENCE }, run)

// key names what a check stores, anew in each run.
const run = randomUUID()
const key = name => sha256(bin(`${run} ${name}`))

// What peers send, in str as most libraries write texts.
const connect = (peer, realm) => frame(type.connect, {
  version: '1.0', node_id: nodeId(peer.peerId), realm_id: realm, endpoint: '', capabilities: ['dht'], addrs: []
})
const ping = timestamp => frame(type.ping, { timestamp })
const store = (key, value) => frame(type.store, { type: 'store', key, value })
const findValue = key => frame(type.findValue, { type: 'find_value', key })
const findNode = target => frame(type.findNode, { type: 'find_node', target })
const callStore = args => frame(type.call, { procedure: '_dht.store', call_id: 'an id', args })

const storeDone = { call_id: bin('an id'), result: { status: bin('ok') } }

check('identify names the protocol', async () => {
  const protocols = async () => (await peer.peerStore.get(node.remotePeer)).protocols
  for (const end = Date.now() + PATIENCE; !(await protocols()).includes(PROTOCOL);) {
    assert.ok(Date.now() < end, `${PROTOCOL} is not among ${await protocols()}`)
    await setTimeout(10)
  }
})

check('CONNECT is answered by who the node is', async () => {
  const stream = await talk(node)
  const pong = expect(type.pong, await stream.ask(connect(peer, realm)))
  same(pong.node_id, nodeId(node.remotePeer))
  same(pong.realm_id, bin(realm))
  const addrs = pong.addrs.map(a => multiaddr(a).toString())
  const reached = multiaddr(addr).decapsulate('/p2p').toString()
  assert.ok(addrs.includes(reached), `${reached} is not among ${addrs}`)
})

check('CONNECT of another realm is turned away', async () => {
  const stream = await talk(node)
  const why = expect(type.disconnect, await stream.ask(connect(peer, `${realm}.other`)))
  same(why.reason, bin('realm_mismatch'))
  assert.equal(await stream.end(), 'closed')
})

check('PING is answered with its timestamp', async () => {
  const stream = await talk(node)
  for (const timestamp of [0, -1, Date.now()]) {
    const pong = expect(type.pong, await stream.ask(ping(timestamp)))
    assert.equal(pong.timestamp, timestamp)
  }
})

check('STORE and FIND_VALUE in one write: str comes back as bin', async () => {
  const stream = await talk(node)
  const value = {
    node_id: 'js-1', endpoint: 'https://127.0.0.1:1', raw: Uint8Array.of(0, 0xff),
    tags: ['a', ''], nested: { name: 'ü', n: [1, -2.5, null, true] }, ttl: 60
  }
  await stream.send(Buffer.concat([store(key('stored'), value), findValue(key('stored'))]))
  const { expires_in: expiresIn, ...found } = expect(type.findValueReply, await stream.next())
  same(found, {
    type: bin('find_value_reply'),
    result: bin('value'),
    value: [{
      node_id: bin('js-1'), endpoint: bin('https://127.0.0.1:1'), raw: Uint8Array.of(0, 0xff),
      tags: [bin('a'), bin('')], nested: { name: bin('ü'), n: [1, -2.5, null, true] }, ttl: 60
    }]
  })
  requireLife(expiresIn, 60)
})

check('_dht.store is acknowledged, and keeps an age', async () => {
  const stream = await talk(node)
  const args = { key: key('called'), value: { node_id: 'js-2', ttl: 600 }, expires_in: 30 }
  same(expect(type.reply, await stream.ask(callStore(args))), storeDone)
  const found = expect(type.findValueReply, await stream.ask(findValue(args.key)))
  same(found.value, [{ node_id: bin('js-2'), ttl: 600 }])
  requireLife(found.expires_in, 30)

  const refused = expect(type.reply, await stream.ask(callStore({ key: args.key })))
  same(refused.error?.code, bin('invalid_args'))
})

// requireLife requires that one value is left, and for how many seconds at most.
function requireLife (expiresIn, most) {
  assert.equal(expiresIn?.length, 1)
  assert.ok(expiresIn[0] > 0 && expiresIn[0] <= most, `it expires in ${expiresIn[0]} s of ${most}`)
}

check('FIND_VALUE of what is not there lists nodes', async () => {
  const stream = await talk(node)
  const miss = expect(type.findValueReply, await stream.ask(findValue(key('never stored'))))
  same([miss.type, miss.result], [bin('find_value_reply'), bin('nodes')])
  await requireNodes(miss.nodes)
})

check('FIND_NODE lists nodes and where they are', async () => {
  const stream = await talk(node)
  const reply = expect(type.findNodeReply, await stream.ask(findNode(key('a target'))))
  same(reply.type, bin('find_node_reply'))
  await requireNodes(reply.nodes)
})

// requireNodes dials each node by the addresses that are told of it.
async function requireNodes (nodes) {
  assert.ok(Array.isArray(nodes), 'nodes is no list')
  const told = []
  for (const { node_id: id, addrs = [] } of nodes) {
    assert.ok(addrs.length > 0, `no addrs of ${Buffer.from(id).toString('hex')}`)
    for (const a of addrs) {
      const connection = await dial(peer, multiaddr(a))
      same(id, nodeId(connection.remotePeer))
      told.push(multiaddr(a).toString())
    }
  }
  if (neighbour) assert.ok(told.includes(neighbour), `${neighbour} is not among ${told}`)
}

check('a value that is of the peer by its node id is replaced by that peer alone', async () => {
  const other = await newPeer()
  try {
    const stream = await talk(node)
    const others = await talk(await dial(other, addr))
    const at = value => ({ key: key('owned'), value: { node_id: nodeId(peer.peerId), ...value } })

    same(expect(type.reply, await stream.ask(callStore(at({ by: 'its peer' })))), storeDone)
    const refused = expect(type.reply, await others.ask(callStore(at({ by: 'another' }))))
    same(refused.error?.code, bin('not_owner'))
    const kept = expect(type.findValueReply, await others.ask(findValue(key('owned'))))
    same(kept.value, [{ node_id: nodeId(peer.peerId), by: bin('its peer') }])

    same(expect(type.reply, await stream.ask(callStore(at({ by: 'its peer again' })))), storeDone)
    const replaced = expect(type.findValueReply, await others.ask(findValue(key('owned'))))
    same(replaced.value, [{ node_id: nodeId(peer.peerId), by: bin('its peer again') }])
  } finally {
    await other.stop()
  }
})

check('frames cut anywhere are answered in their order', async () => {
  const stream = await talk(node)
  const large = new Uint8Array(60_000).fill(7)
  const value = n => ({ node_id: 'js-3', n, large: n === 0 ? large : new Uint8Array(0) })
  const rounds = 50
  const frames = []
  for (let n = 0; n < rounds; n++) {
    frames.push(store(key('cut'), value(n)), findValue(key('cut')), ping(n))
  }
  await stream.send(...pieces(Buffer.concat(frames)))
  for (let n = 0; n < rounds; n++) {
    const found = expect(type.findValueReply, await stream.next())
    same(found.value, [{ ...value(n), node_id: bin('js-3') }])
    assert.equal(expect(type.pong, await stream.next()).timestamp, n)
  }
  assert.equal(await stream.finish(), 'closed') // and nothing else is answered
})

// pieces cuts bytes as if at random, but in each run at the same places.
function * pieces (bytes) {
  for (let from = 0, n = 0; from < bytes.length; n++) {
    const to = from + 1 + sha256(bin(`piece ${n}`))[0]
    yield bytes.subarray(from, to)
    from = to
  }
}

const broken = [
  { what: 'a bad version', bytes: [2, type.ping, 0, 0, 0, 0, 0, 1, 0x80], end: 'reset 1' },
  { what: 'a payload above 1 MiB', bytes: [1, type.ping, 0, 0, 0, 0x10, 0, 1], end: 'reset 2' },
  { what: 'broken MessagePack', bytes: [1, type.ping, 0, 0, 0, 0, 0, 1, 0xc1], end: 'reset 3' },
  { what: 'a payload that is no map', bytes: [1, type.ping, 0, 0, 0, 0, 0, 1, 0x90], end: 'reset 4' }
]
for (const { what, bytes, end } of broken) {
  check(`${what} resets its stream, others go on`, async () => {
    const sibling = await talk(node)
    expect(type.pong, await sibling.ask(ping(1)))
    const stream = await talk(node)
    await stream.send(Uint8Array.from(bytes))
    assert.equal(await stream.end(), end)
    expect(type.pong, await sibling.ask(ping(2)))
    expect(type.pong, await (await talk(node)).ask(ping(3)))
  })
}
