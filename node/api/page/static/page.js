// Keeps the page up to date, draws a lookup as it runs, and copies. All facts are in the page
// without it: what it puts there of others' is text, never markup.
'use strict'

const every = 3000 // milliseconds from one look at the node to the next
const patience = 8000 // for which an answer is waited
const byId = (id) => document.getElementById(id)

// Which sections the node has changed are put in the place of the old ones.
let lostSince = null
let paused = false
let timer = 0

async function refresh () {
  clearTimeout(timer)
  if (!paused && !document.hidden) {
    try {
      const here = new URL(location.href)
      here.searchParams.delete('key')
      here.searchParams.delete('as')
      here.hash = ''
      const answer = await fetch(here, { signal: AbortSignal.timeout(patience), headers: { Accept: 'text/html' } })
      if (!answer.ok) {
        lost(answer.status === 401 ? 'The node wants to be shown its token again: reload the page.' : `The node answers with ${answer.status} ${answer.statusText}`)
      } else {
        put(new DOMParser().parseFromString(await answer.text(), 'text/html'))
        found()
      }
    } catch {
      lost('The node does not answer')
    }
  }
  timer = setTimeout(refresh, every)
}

function lost (why) {
  const since = lostSince ??= new Date()
  const text = `${why}, since ${since.toLocaleTimeString()}. What is shown is how it was then.`
  if (byId('lost').textContent !== text) byId('lost').textContent = text
  byId('lost').hidden = false
  document.body.classList.add('is-lost')
}

function found () {
  if (lostSince) announce('The node answers again.')
  lostSince = null
  byId('lost').hidden = true
  document.body.classList.remove('is-lost')
}

function announce (text) { byId('announced').textContent = text }

function put (fresh) {
  document.title = fresh.title
  const ill = byId('well').className
  for (const now of fresh.querySelectorAll('[data-live]')) {
    const old = byId(now.id)
    if (!old || old.contains(getSelection().anchorNode) && !getSelection().isCollapsed) continue // somebody marks a text there
    ready(now)
    for (const d of now.querySelectorAll('details[id]')) d.open = byId(d.id)?.open ?? false
    if (old.innerHTML === now.innerHTML) continue
    const focused = old.contains(document.activeElement) ? pathOf(old, document.activeElement) : null
    const scrolled = [...old.querySelectorAll('.scroll')].map((s) => s.scrollLeft)
    old.className = now.className
    old.replaceChildren(...now.childNodes)
    old.querySelectorAll('.scroll').forEach((s, i) => { s.scrollLeft = scrolled[i] ?? 0 })
    if (focused) follow(old, focused)?.focus({ preventScroll: true })
  }
  if (byId('well').className !== ill) announce(byId('well').className === 'ill' ? 'The node is not well any more.' : 'The node is well again.')
}

// Where an element is in another, or what stands for the same thing.
function pathOf (from, element) {
  if (element.dataset.copy) return { copy: element.dataset.copy }
  const path = []
  for (let e = element; e !== from; e = e.parentElement) path.unshift([...e.parentElement.children].indexOf(e))
  return { path }
}

function follow (from, { copy, path }) {
  if (copy) return [...from.querySelectorAll('.copy')].find((b) => b.dataset.copy === copy)
  return path.reduce((e, i) => e?.children[i], from)
}

// What wants JavaScript is shown with it alone.
function ready (part) { for (const b of part.querySelectorAll('.copy')) b.hidden = false }

async function copy (button) {
  const text = button.dataset.copy
  try {
    await navigator.clipboard.writeText(text)
  } catch { // where the page is not at loopback a browser has none
    const area = document.createElement('textarea')
    area.value = text
    document.body.append(area)
    area.select()
    document.execCommand('copy')
    area.remove()
    button.focus()
  }
  announce('Copied.')
  button.textContent = 'Copied'
  setTimeout(() => { button.textContent = 'Copy' }, 1500)
}

// A lookup: what the API tells of it, one event after the other.
let running = null
let asking = 0 // the last that was asked for; what becomes of those before it is not shown

async function lookUp (text, as) {
  stop()
  const mine = ++asking
  byId('lookup-hops').hidden = true
  byId('lookup-hops').querySelector('tbody').replaceChildren()
  byId('lookup-values').replaceChildren()
  byId('lookup-picture').replaceChildren()
  let said
  try {
    const answer = await fetch('/key?' + new URLSearchParams({ key: text, as }), { signal: AbortSignal.timeout(patience) })
    said = await answer.json()
  } catch {
    if (mine === asking) say('The node does not answer.')
    return
  }
  if (mine !== asking) return
  if (said.error) return say(said.error)
  say('Looking…')
  byId('lookup-stop').hidden = false
  const picture = new Picture(byId('lookup-picture'))
  const stream = running = new EventSource('/v1/lookup/' + said.key)
  stream.addEventListener('asked', (e) => {
    const asked = JSON.parse(e.data)
    picture.asked(asked)
    say(`Looking: hop ${asked.hop}, ${picture.nodes.size} asked…`)
  })
  stream.addEventListener('answered', (e) => {
    const hop = JSON.parse(e.data)
    picture.answered(hop)
    row(hop)
  })
  stream.addEventListener('result', (e) => {
    stream.close()
    if (running !== stream) return
    stop()
    const l = JSON.parse(e.data)
    const nodes = `${l.answered} answered of ${l.asked} asked, in ${took(l.at_ms)}`
    say({
      found: `Found: ${counted(l.values.length, 'value')} at ${counted(l.holders, 'holder')}; ${nodes}.`,
      not_found: `Not found: nobody who answered has it; ${nodes}.`,
      no_peers: 'Nobody is known who could be asked.',
      unanswered: `Nobody answered; ${nodes}.`
    }[l.result] ?? `It took too long; ${nodes}.`)
    for (const v of l.values) byId('lookup-values').append(valueOf(v))
  })
  stream.onerror = () => {
    stream.close() // which would connect anew, and have the node look up again
    if (running !== stream) return
    stop()
    say('The node ended the lookup, or has too many readers: try again.')
  }
}

function stop () {
  asking++
  running?.close()
  running = null
  byId('lookup-stop').hidden = true
}

function say (text) { byId('lookup-said').textContent = legible(text, 2000) }

function row (hop) {
  byId('lookup-hops').hidden = false
  const answer = hop.silent ? 'silent' : hop.error ? legible(hop.error, 120) : `${counted(hop.nodes, 'node')}, ${counted(hop.values, 'value')}`
  const tr = element('tr', { class: 'fresh' })
  const code = element('code', { title: hop.node_id }, short(hop.node_id))
  tr.append(element('td', { class: 'number' }, hop.hop), element('td', {}, code), element('td', { class: 'number' }, hop.shared),
    element('td', {}, element('bdi', {}, answer)), element('td', { class: 'number' }, took(hop.took_ms)))
  byId('lookup-hops').querySelector('tbody').append(tr)
}

function valueOf (v) {
  return element('li', {}, element('pre', {}, legible(JSON.stringify(v.value), 2000)),
    element('p', {}, `${v.proved ? 'proved to be its provider’s' : 'not proved'}, lives for ${v.expires_in} s more`))
}

// Picture draws a lookup: hops from the left to the right, and the nearer to the key the higher.
class Picture {
  constructor (place) {
    this.nodes = new Map()
    this.svg = drawn('svg', { role: 'img', 'aria-label': 'The lookup, hop by hop: who was asked, from the left to the right, the nearer to the key the higher. The table below has it in words.' })
    this.ways = drawn('g', {})
    this.marks = drawn('g', {})
    this.svg.append(this.ways, this.marks)
    this.place = place
  }

  asked (a) {
    if (this.nodes.has(a.node_id)) return
    if (!this.svg.isConnected) this.place.append(this.svg)
    const n = { hop: a.hop, shared: a.shared, mark: drawn('circle', { r: 6, class: 'asked fresh' }), title: drawn('title', {}) }
    n.title.textContent = `${short(a.node_id)}, hop ${a.hop}, ${a.shared} bits shared`
    n.mark.append(n.title)
    n.way = drawn('path', { class: 'way' })
    this.nodes.set(a.node_id, n)
    this.ways.append(n.way)
    this.marks.append(n.mark)
    this.lay()
  }

  answered (h) {
    const n = this.nodes.get(h.node_id)
    if (!n) return
    const kind = h.silent ? 'silent' : h.error ? 'wrong' : h.values > 0 ? 'had' : 'answered'
    n.mark.setAttribute('class', kind)
    n.title.textContent += `, ${kind === 'had' ? 'has a value' : kind}`
    if ((kind === 'silent' || kind === 'wrong') && !n.cross) this.marks.append(n.cross = drawn('path', { class: 'cross', d: 'M-4-4L4 4M4-4L-4 4' }))
    this.lay()
  }

  // lay gives each mark its place: columns of hops, rows of shared bits; those that have the same
  // stand side by side.
  lay () {
    const all = [...this.nodes.values()]
    const hops = Math.max(...all.map((n) => n.hop), 1)
    const bits = [...new Set(all.map((n) => n.shared))].sort((a, b) => b - a)
    const column = 640 / hops
    const line = 26
    const height = bits.length * line + 44
    this.svg.setAttribute('viewBox', `0 0 720 ${height}`)
    this.labels?.remove()
    this.labels = drawn('g', {})
    bits.forEach((b, i) => this.labels.append(lettered('text', { x: 20, y: 20 + i * line, class: 'number' }, b)))
    for (let h = 1; h <= hops; h++) this.labels.append(lettered('text', { x: 50 + (h - 0.5) * column, y: height - 12, class: 'number' }, `hop ${h}`))
    this.labels.append(lettered('text', { x: 20, y: height - 12, class: 'number' }, 'bits'))
    this.svg.append(this.labels)
    const taken = new Map()
    for (const n of all) {
      const cell = `${n.hop} ${n.shared}`
      taken.set(cell, (taken.get(cell) ?? 0) + 1)
    }
    const placed = new Map()
    for (const n of all) {
      const cell = `${n.hop} ${n.shared}`
      const i = placed.get(cell) ?? 0
      placed.set(cell, i + 1)
      const gap = Math.min(16, (column - 16) / taken.get(cell))
      n.x = 50 + (n.hop - 0.5) * column + (i - (taken.get(cell) - 1) / 2) * gap
      n.y = 20 + bits.indexOf(n.shared) * line
      n.mark.setAttribute('cx', n.x)
      n.mark.setAttribute('cy', n.y)
      n.cross?.setAttribute('transform', `translate(${n.x} ${n.y})`)
    }
    for (const n of all) { // from the nearest of the hop before, by whom it may have been named
      const before = all.filter((o) => o.hop === n.hop - 1).sort((a, b) => b.shared - a.shared)[0]
      if (before) n.way.setAttribute('d', `M${before.x} ${before.y}L${n.x} ${n.y}`)
    }
  }
}

function element (name, attributes, ...children) {
  const e = document.createElement(name)
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
  e.append(...children)
  return e
}

function drawn (name, attributes) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
  return e
}

function lettered (name, attributes, text) {
  const e = drawn(name, attributes)
  e.textContent = text
  return e
}

// legible shows a text of anybody's as the server does.
function legible (text, most) {
  const all = [...String(text).replace(/(\p{M}{2})\p{M}+/gu, '$1')]
  const shown = all.slice(0, most).map((c) => c !== ' ' && /[\p{C}\p{Z}]/u.test(c) ? `\\u{${c.codePointAt(0).toString(16)}}` : c).join('')
  return all.length > most ? shown + '…' : shown
}

const short = (id) => id.length > 18 ? `${id.slice(0, 8)}…${id.slice(-8)}` : id
const counted = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`
const took = (ms) => ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`

document.addEventListener('click', (e) => {
  const button = e.target.closest('.copy')
  if (button) return copy(button)
  const key = e.target.closest('[data-key]')
  if (!key || e.ctrlKey || e.metaKey || e.shiftKey) return
  e.preventDefault()
  byId('lookup-key').value = key.dataset.key
  byId('lookup-as').value = 'key'
  byId('lookup').scrollIntoView()
  lookUp(key.dataset.key, 'key')
})
byId('lookup-form').addEventListener('submit', (e) => {
  e.preventDefault()
  lookUp(byId('lookup-key').value, byId('lookup-as').value)
})
byId('lookup-stop').addEventListener('click', () => {
  stop()
  say('Stopped.')
  byId('lookup-key').focus()
})
byId('pause').hidden = false
byId('pause').addEventListener('click', () => {
  paused = !paused
  byId('pause').setAttribute('aria-pressed', paused)
  if (!paused) refresh()
})
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh() })
ready(document)
timer = setTimeout(refresh, every)
