// Sends what the HTTP Request nodes of an n8n workflow say, with the HTTP client of n8n itself. The options are made as HttpRequestV3 of
// n8n-nodes-base 2.41 makes them; that package, and a whole n8n, are too large to have here.
//
// Reads {workflow, token} as JSON from standard input; writes a line of JSON for each node: {node, answer} or {node, error}.
require('reflect-metadata')
const { text } = require('node:stream/consumers')
const { Container } = require('@n8n/di')
const { OutboundHttp } = require('@n8n/backend-network')

const SLOW = 300_000
const ACCEPT = 'application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7'

function optionsOf({ parameters: p, credentials }, token) {
  const { redirect, proxy, timeout } = p.options
  const options = {
    headers: {}, method: p.method, uri: p.url, gzip: true, rejectUnauthorized: true, followRedirect: false, resolveWithFullResponse: true,
    sendCredentialsOnCrossOriginRedirect: true, timeout: timeout || SLOW, encoding: null, json: false, useStream: true,
  }
  if (p.method !== 'GET') options.followAllRedirects = false
  if (redirect === undefined || redirect.redirect.followRedirects) options.followRedirect = options.followAllRedirects = true
  if (proxy) options.proxy = proxy
  if (p.sendBody) options.body = JSON.parse(p.jsonBody)
  if (p.sendHeaders) for (const { name, value } of p.headerParameters.parameters) options.headers[name.toLowerCase()] = value
  if (credentials[p.genericAuthType] === undefined) throw new Error(`no credential for ${p.genericAuthType}`)
  if (p.genericAuthType === 'httpBearerAuth') options.headers.Authorization = `Bearer ${token}`
  if (p.genericAuthType === 'httpHeaderAuth') options.headers['Proxy-Authorization'] = `Bearer ${token}` // name and value of the credential
  options.headers.accept = ACCEPT
  return options
}

async function main() {
  const { workflow, token } = JSON.parse(await text(process.stdin))
  const client = Container.get(OutboundHttp).requests()
  for (const node of workflow.nodes.filter(({ type }) => type === 'n8n-nodes-base.httpRequest')) {
    try {
      const { body } = await client.requestLegacy(optionsOf(node, token))
      console.log(JSON.stringify({ node: node.name, answer: await text(body) }))
    } catch (error) {
      console.log(JSON.stringify({ node: node.name, error: error.message }))
    }
  }
}
main()
