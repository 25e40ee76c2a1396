// Load for the live tests with the TypeScript SDK; the same options and the same answer as the program in ../mcp/client.
//
// Only -stream has no effect: these clients always hold a stream for messages of the server. A user keeps one Client until its session is lost, and then makes a new one, as a careful program does.
import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { Agent, fetch } from 'undici'

const text = { type: 'string' }
const { values: options } = parseArgs({
  args: process.argv.slice(2).map(argument => argument.replace(/^-(?=[a-z]{2})/, '--')),
  options: { url: text, sessions: text, interval: text, timeout: text, source: text, ready: text, whole: text },
  strict: false
})
const sessions = Number(options.sessions ?? 20)
const interval = Number(options.interval ?? 0.25) * 1000
const timeout = Number(options.timeout ?? 15) * 1000
const bin = 100
const variable = /\d+\.\d+\.\d+\.\d+(:\d+)?|[0-9A-Z]{26}|[0-9a-f]{8}-[0-9a-f-]{27}/g

const result = { good: 0, failed: 0, lost: 0, ended: 0, stateGone: 0, longestGap: 0, errors: {}, goodBins: [], failedBins: [] }
let begun
let waiting = sessions
let stopped = false
if (options.whole === 'true') begin()

function begin() {
  begun = Date.now()
  result.begun = new Date(begun).toISOString()
}

function addCall(name, at) {
  if (begun === undefined) return
  result[name]++
  const bins = result[`${name}Bins`]
  const index = Math.max(0, Math.floor((at - begun) / bin))
  while (bins.length <= index) bins.push(0)
  bins[index]++
}

function failed(at, error) {
  addCall('failed', at)
  if (begun === undefined) return
  const message = `${error.constructor.name}: ${error.message}`.replace(variable, '…').slice(0, 200)
  result.errors[message] = (result.errors[message] ?? 0) + 1
}

function waited(since, until) {
  if (begun !== undefined) result.longestGap = Math.max(result.longestGap, (until - Math.max(since, begun)) / 1000)
}

function answeredFirst() {
  if (--waiting > 0) return
  if (begun === undefined) begin()
  if (options.ready) writeFileSync(options.ready, '')
}

// The address of the user with this index: each calls from its own.
function address(index) {
  if (!options.source) return undefined
  const [a, b, c, d] = options.source.split('.').map(Number)
  const last = c * 256 + d + index
  return `${a}.${b}.${last >> 8}.${last & 255}`
}

async function connect(dispatcher) {
  const client = new Client({ name: 'live-tests', version: '1' })
  const withAddress = (url, init) => fetch(url, { ...init, dispatcher })
  await client.connect(new StreamableHTTPClientTransport(new URL(options.url), { fetch: withAddress }), { timeout })
  return client
}

async function user(index) {
  const dispatcher = new Agent({ localAddress: address(index) })
  // Of this user: each is counted once, and not how often it happens.
  const happened = new Set()
  const once = what => {
    if (begun === undefined || happened.has(what)) return
    happened.add(what)
    result[what]++
  }
  await sleep((interval * index) / sessions)
  let client
  let counted = 0
  let isFirst = true
  let answered = Date.now()
  for (let next = Date.now(); !stopped; next = Math.max(next + interval, Date.now()), await sleep(next - Date.now())) {
    const at = Date.now()
    try {
      client ??= await connect(dispatcher)
      const { structuredContent } = await client.callTool({ name: 'count', arguments: {} }, undefined, { timeout })
      const now = Date.now()
      if (isFirst) answeredFirst()
      isFirst = false
      addCall('good', at)
      waited(answered, now)
      answered = now
      if (structuredContent.count <= counted) once('stateGone')
      counted = structuredContent.count
    } catch (error) {
      failed(at, error)
      if (error.code !== 404) continue
      once('lost')
      client?.close()
      client = undefined
      counted = 0
    }
  }
  waited(answered, Date.now())
}

process.on('SIGTERM', () => { stopped = true })
process.on('SIGINT', () => { stopped = true })
await Promise.race([
  Promise.all(Array.from({ length: sessions }, (_, index) => user(index))),
  (async () => { while (!stopped) await sleep(100); await sleep(timeout) })()
])
console.log(JSON.stringify(result))
process.exit(0)
