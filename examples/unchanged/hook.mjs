// Posts a webhook, and has never heard of Keybearer.
const answer = await fetch(process.env.WEBHOOK_URL, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({ text: 'deployed' }),
  signal: AbortSignal.timeout(30_000),
})
console.log(await answer.text())
process.exitCode = answer.ok ? 0 : 1
