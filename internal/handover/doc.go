// Package handover serves from two places at once while a house is moved: from the keyring, or the store, that is moved into, and from the former one.
//
// [Keyring] is one keyring over two. New keys are made in the current one; every other call goes to whichever has the key. Custody moves
// the secrets, scope by scope, while both are open.
//
// It decides which of two places answers, and nothing else. It knows neither what a secret is for nor who asks.
package handover
