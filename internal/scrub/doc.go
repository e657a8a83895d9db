// Package scrub takes a secret out of what a destination sends back, should it echo it: out of header fields as words,
// out of bodies and WebSocket messages byte for byte, so that lengths and framing stay as they are.
//
// It decides in which forms a secret is looked for. It knows nothing of HTTP, of who may see what, or of how the bytes arrive: a
// text that is split anywhere gives the same result, in memory that depends on the secret alone. It cannot find what was enciphered,
// compressed or encoded in a way that is not listed in [Set]; nobody can.
package scrub
