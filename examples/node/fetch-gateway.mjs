// Sends a webhook through Keybearer as its base URL, with the fetch that Node has.
const { KEYBEARER_URL, KEYBEARER_TOKEN, KEYBEARER_CREDENTIAL, WEBHOOK_HOST } = process.env

const answer = await fetch(`${KEYBEARER_URL}/hook`, {
  method: 'POST',
  headers: {
    'Authorization': `Bearer ${KEYBEARER_TOKEN}`,
    'Content-Type': 'application/json',
    'Keybearer-Credential': KEYBEARER_CREDENTIAL,
    'Keybearer-Destination': `https://${WEBHOOK_HOST}`,
  },
  body: JSON.stringify({ text: 'deployed' }),
  redirect: 'manual',
  signal: AbortSignal.timeout(30_000),
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
