// Frames of /macula/dht/1.0, see docs/PROTOCOL.md: eight bytes of header, then a
// MessagePack map.
import { decode, encode } from '@msgpack/msgpack'

export const VERSION = 1
export const HEADER = 8 // bytes
const MAX_PAYLOAD = 1 << 20 // bytes

export const type = {
  connect: 0x01,
  disconnect: 0x02,
  ping: 0x03,
  pong: 0x04,
  call: 0x20,
  reply: 0x21,
  findNode: 0x40,
  findNodeReply: 0x41,
  store: 0x42,
  findValue: 0x43,
  findValueReply: 0x44
}

// bin is a text as the node sends it: in MessagePack's bin, not its str.
export const bin = text => new TextEncoder().encode(text)

// frame writes a message as the library does by itself: a string becomes str, a
// Uint8Array bin.
export function frame (type, message) {
  const payload = encode(message)
  const out = new Uint8Array(HEADER + payload.length)
  out.set([VERSION, type])
  new DataView(out.buffer).setUint32(4, payload.length)
  out.set(payload, HEADER)
  return out
}

// parseHeader returns the type of a frame and the length of its payload.
export function parseHeader (header) {
  const view = new DataView(header.buffer, header.byteOffset, HEADER)
  const length = view.getUint32(4)
  if (view.getUint8(0) !== VERSION || length > MAX_PAYLOAD) {
    throw new Error(`not the header of a frame: ${Buffer.from(header).toString('hex')}`)
  }
  return { type: view.getUint8(1), length }
}

// parsePayload tells str and bin apart in keys too: it marks a key in str.
export function parsePayload (payload) {
  return decode(payload, {
    mapKeyConverter: key => key instanceof Uint8Array ? new TextDecoder().decode(key) : `str:${key}`
  })
}
