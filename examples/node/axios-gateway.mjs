// Sends a webhook through Keybearer as its base URL, with axios.
import axios from 'axios'

const { KEYBEARER_URL, KEYBEARER_TOKEN, KEYBEARER_CREDENTIAL, WEBHOOK_HOST } = process.env

const answer = await axios.post('/hook', { text: 'deployed' }, {
  baseURL: KEYBEARER_URL,
  headers: {
    'Authorization': `Bearer ${KEYBEARER_TOKEN}`,
    'Keybearer-Credential': KEYBEARER_CREDENTIAL,
    'Keybearer-Destination': `https://${WEBHOOK_HOST}`,
  },
  proxy: false, // no proxy of the environment on the way to Keybearer
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
