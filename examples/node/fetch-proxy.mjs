// Sends a webhook through Keybearer as its proxy, with fetch.
import { ProxyAgent, fetch } from 'undici' // fetch and ProxyAgent of one version: the built-in fetch may not take this one's agents

const { KEYBEARER_URL, KEYBEARER_TOKEN, KEYBEARER_CREDENTIAL, WEBHOOK_HOST } = process.env

// Left to itself undici opens a tunnel for http:// too. Keybearer serves it, but every tunnel costs a connection.
const dispatcher = new ProxyAgent({ uri: KEYBEARER_URL, token: `Bearer ${KEYBEARER_TOKEN}`, proxyTunnel: false })

const answer = await fetch(`http://${WEBHOOK_HOST}/hook`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', 'Keybearer-Credential': KEYBEARER_CREDENTIAL },
  body: JSON.stringify({ text: 'deployed' }),
  redirect: 'manual',
  signal: AbortSignal.timeout(30_000),
  dispatcher,
}).catch((error) => {
  if (!error.cause?.message.includes('407')) throw error
  // undici makes an error of every 407 and drops its body, which has Keybearer's code and hint.
  console.error("keybearer: caller_unauthenticated\nhint: KEYBEARER_TOKEN must be a caller's token")
  process.exit(1)
})
if (answer.headers.get('Proxy-Status')?.startsWith('keybearer; error=')) {
  const { code, detail, hint } = await answer.json()
  console.error(`keybearer: ${code}: ${detail}\nhint: ${hint}`)
  process.exitCode = 1
} else if (!answer.ok) {
  console.error(`the destination answered ${answer.status}`)
  process.exitCode = 1
} else {
  console.log(await answer.text())
}
await dispatcher.close()
