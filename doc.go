// Package keybearer is the vocabulary of an outbound credential proxy and its extension points.
//
// An app sends a plain HTTP request and names a [Credential]. Keybearer checks that the [Caller] holds
// a [Grant] on it and that a [Rule] of the credential admits the destination, opens the secret with the
// [Keyring], writes it into the outgoing request and forwards over verified TLS.
//
// This package holds the nouns that every part shares, the closed list of [Code]s, and the interfaces
// that others may implement: [Store], [Ledger], [Keyring], [Auditor], [Identity]. It decides nothing
// (package policy does), performs no I/O, and knows no database, no wire and no web framework. It
// imports the standard library only.
//
// Conformance suites for the interfaces are in package keybearertest.
package keybearer
