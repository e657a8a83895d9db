// Sends a plan of requests with undici's fetch through Keybearer; for what it reads and writes see ../clients/client.py. Its
// ProxyAgent opens CONNECT host:80 and speaks plain HTTP inside.
import { text } from 'node:stream/consumers'
import { Agent, ProxyAgent, fetch } from 'undici'

const plan = JSON.parse(await text(process.stdin))
const direct = new Agent({ connections: 4 })
const agents = new Map()

function dispatcher({ proxy, connect }) {
  if (!proxy) return direct
  const key = JSON.stringify([proxy, connect])
  if (!agents.has(key)) agents.set(key, new ProxyAgent({ uri: proxy, token: connect || undefined, connections: 4 }))
  return agents.get(key)
}

async function send(job) {
  const answer = await fetch(job.url, {
    method: job.method, headers: job.headers, body: job.body || undefined, redirect: 'manual', dispatcher: dispatcher(job),
  })
  return {
    id: job.id,
    status: answer.status,
    answered: answer.headers.get('x-test-id') ?? '',
    by: answer.headers.get('proxy-status') ?? '',
    body: await answer.text(),
  }
}

const queue = plan.values()
await Promise.all(Array.from({ length: 4 }, async () => {
  for (const job of queue) console.log(JSON.stringify(await send(job)))
}))
await Promise.all([direct, ...agents.values()].map((agent) => agent.close()))
