// What js-libp2p's dependencies take for granted and Node 20 does not have yet.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((...settle) => { [resolve, reject] = settle })
  return { promise, resolve, reject }
}
