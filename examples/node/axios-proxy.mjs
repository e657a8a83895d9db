// Sends a webhook through Keybearer as its proxy, with axios.
import axios from 'axios'

const { KEYBEARER_URL, KEYBEARER_TOKEN, KEYBEARER_CREDENTIAL, WEBHOOK_HOST } = process.env
const keybearer = new URL(KEYBEARER_URL)

const answer = await axios.post(`http://${WEBHOOK_HOST}/hook`, { text: 'deployed' }, {
  headers: { 'Keybearer-Credential': KEYBEARER_CREDENTIAL },
  // axios asks the proxy in absolute form, with Basic: the user "_" names no credential, as the header does.
  proxy: { protocol: 'http', host: keybearer.hostname, port: Number(keybearer.port), auth: { username: '_', password: KEYBEARER_TOKEN } },
  maxRedirects: 0,
  timeout: 30_000,
  validateStatus: null,
})
if (answer.headers['proxy-status']?.startsWith('keybearer; error=')) {
  const { code, detail, hint } = answer.data
  console.error(`keybearer: ${code}: ${detail}\nhint: ${hint}`)
  process.exitCode = 1
} else if (answer.status < 200 || answer.status > 299) {
  console.error(`the destination answered ${answer.status}`)
  process.exitCode = 1
} else {
  console.log(answer.data)
}
