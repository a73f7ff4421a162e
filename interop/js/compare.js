import assert from 'node:assert/strict'
import { isUtf8 } from 'node:buffer'

// readable gives a value in a form that prints well: a bin as its text, or in
// hexadecimal where it is none.
function readable (value) {
  if (value instanceof Uint8Array) {
    return isUtf8(value) ? `bin '${Buffer.from(value)}'` : `bin 0x${Buffer.from(value).toString('hex')}`
  }
  if (Array.isArray(value)) return value.map(readable)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, readable(v)]))
}

// same requires that two values are equal, str and bin apart.
export const same = (seen, expected) => assert.deepEqual(readable(seen), readable(expected))

// expect requires the type of a frame and returns its message.
export function expect (wanted, [type, message]) {
  assert.equal(type, wanted, `a frame of type ${type}, not ${wanted}: ${JSON.stringify(readable(message))}`)
  return message
}
