// Package admin is the HTTP API under /api/v1 and its client. It decides nothing: it turns requests into operations of
// package custody and what they give into JSON, and refuses whatever is not exactly one well-formed request.
//
// [New] makes the handler, [Client] speaks to it; both use the wire types of this package (wire_*.go). What is
// read never holds a secret, a ciphertext, a scope's share or a token's hash; plaintext travels in requests only, as
// [Plaintext], and in the one answer that shows a new token.
//
// Changes carry If-Match: the ETag that was read, or "*" for whatever it is now. Errors are RFC 9457 problems with a stable
// code and never echo a value of the request.
package admin
