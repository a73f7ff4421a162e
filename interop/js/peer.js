import './node20.js'
import { createHash } from 'node:crypto'
import { quic } from '@chainsafe/libp2p-quic'
import { identify } from '@libp2p/identify'
import { multiaddr } from '@multiformats/multiaddr'
import { byteStream } from 'it-byte-stream'
import { createLibp2p } from 'libp2p'
import { HEADER, parseHeader, parsePayload } from './frame.js'

export const PROTOCOL = '/macula/dht/1.0'
export const PATIENCE = 10_000 // ms, for anything on loopback, however busy the machine

export const sha256 = bytes => new Uint8Array(createHash('sha256').update(bytes).digest())

// nodeId is what Macula calls a libp2p peer.
export const nodeId = peerId => sha256(peerId.toMultihash().bytes)

// newPeer starts a libp2p peer that only dials.
export const newPeer = () => createLibp2p({ transports: [quic()], services: { identify: identify() } })

export const dial = (peer, addr) => peer.dial(multiaddr(addr), { signal: AbortSignal.timeout(PATIENCE) })

// talk opens a stream of the protocol on a connection.
export async function talk (connection) {
  return new Talk(await connection.newStream(PROTOCOL, { signal: AbortSignal.timeout(PATIENCE) }))
}

// Talk is a stream on which one writes bytes and reads frames.
class Talk {
  #stream
  #bytes
  #resetCode

  constructor (stream) {
    this.#stream = stream
    this.#bytes = byteStream(stream)
    // To a reader this transport ends a reset stream as any other: it tells the
    // difference, and the code, to the stream's log alone.
    stream.log.error = (format, err) => {
      this.#resetCode ??= /reset by peer: error (\d+)/.exec(err?.message)?.[1]
    }
  }

  async send (...writes) {
    for (const bytes of writes) {
      await this.#bytes.write(bytes, { signal: AbortSignal.timeout(PATIENCE) })
    }
  }

  // next reads a frame: its type and its message.
  async next () {
    const { type, length } = parseHeader(await this.#read(HEADER))
    return [type, parsePayload(await this.#read(length))]
  }

  // ask sends a frame and reads the one that answers it.
  async ask (frame) {
    await this.send(frame)
    return this.next()
  }

  // end waits until the node ends the stream and says how: "closed" or "reset"
  // with its code.
  async end () {
    try {
      const more = await this.#read(1)
      throw new Error(`the stream goes on, with ${more[0]}`)
    } catch (err) {
      if (err.name !== 'UnexpectedEOFError') throw err
      return this.#resetCode == null ? 'closed' : `reset ${this.#resetCode}`
    }
  }

  // finish ends our side, and then waits for the node's end.
  async finish () {
    await this.#stream.closeWrite({ signal: AbortSignal.timeout(PATIENCE) })
    return this.end()
  }

  async #read (bytes) {
    const read = await this.#bytes.read({ bytes, signal: AbortSignal.timeout(PATIENCE) })
    return read.subarray()
  }
}
