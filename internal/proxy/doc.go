// Package proxy is the request path: identify, decide, audit, open, inject, send.
//
// [Gate] makes the decision. It is given a [Call], a small value that any wire engine can fill, and
// answers with a [Pass] to send one request with one secret, or with an error to be rendered by [Refuse].
// [Proxy] is the wire engine on net/http: it fills the Call, sends what the Pass admits, and streams the
// answer back, or relays the WebSocket that came of it. Everything that must be the same for every engine (which fields are tags, which are
// dropped, how a refusal reads) is on the Gate's side.
//
// It knows nothing of how records are stored, keys kept or callers proven, and nothing of Caddy.
package proxy
