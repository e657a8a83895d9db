// Talks over a WebSocket of the ws library through Keybearer, as told by the JSON on stdin, and writes what came of it as JSON.
import { text } from 'node:stream/consumers'
import { once } from 'node:events'
import http from 'node:http'
import WebSocket from 'ws'

const job = JSON.parse(await text(process.stdin)) // {mode, proxy, host, token, credential}
const proxy = new URL(job.proxy)

// Opens CONNECT and speaks plain HTTP inside, as proxy agents do for ws://.
class Tunnel extends http.Agent {
  createConnection(options, done) {
    const connect = http.request({
      host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: `${job.host}:80`, headers: { 'Proxy-Authorization': `Bearer ${job.token}` },
    })
    connect.on('connect', (answer, socket) => (answer.statusCode === 200 ? done(null, socket) : done(new Error(`CONNECT: ${answer.statusCode}`))))
    connect.on('error', done)
    connect.end()
  }
}

const headers = { 'Keybearer-Credential': job.credential }
let url = `ws://${proxy.host}/chat`
const options = { headers }
if (job.mode === 'gateway') {
  headers['Keybearer-Destination'] = `https://${job.host}`
  headers.Authorization = `Bearer ${job.token}`
} else if (job.mode === 'tunnel') {
  url = `ws://${job.host}/chat`
  options.agent = new Tunnel()
} else {
  headers['Proxy-Authorization'] = `Bearer ${job.token}`
  options.finishRequest = (request) => {
    request.path = `http://${job.host}/chat`
    request.setHeader('Host', job.host)
    request.end()
  }
}

const socket = new WebSocket(url, options)
const inbox = []
let wake = () => {}
socket.on('message', (data, binary) => { inbox.push({ data, binary }); wake() })
const closed = once(socket, 'close')
const failed = await Promise.race([
  once(socket, 'open').then(() => null),
  once(socket, 'unexpected-response').then(async ([, answer]) => ({ status: answer.statusCode, body: await text(answer) })),
])
if (failed) {
  console.log(JSON.stringify(failed))
  process.exit(0)
}
const receive = async () => {
  while (inbox.length === 0) await new Promise((resolve) => { wake = resolve })
  return inbox.shift()
}
let wrong = 0
for (const size of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
  for (const binary of [false, true]) {
    const sent = Buffer.alloc(size, `message of ${size} `)
    socket.send(sent, { binary })
    const back = await receive()
    if (!back.data.equals(sent) || back.binary !== binary) wrong++
  }
}
for (let i = 0; i < 100; i++) socket.send(`one of many ${i}`)
for (let i = 0; i < 100; i++) if ((await receive()).data.toString() !== `one of many ${i}`) wrong++
socket.ping('p')
const [pong] = await once(socket, 'pong')
if (pong.toString() !== 'p') wrong++
socket.send('headers')
const seen = JSON.parse((await receive()).data.toString())
socket.close(1000, 'done')
const [code] = await closed
console.log(JSON.stringify({ status: 101, wrong, seen, code, extensions: socket.extensions }))
