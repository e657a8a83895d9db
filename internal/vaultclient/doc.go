// Package vaultclient talks to Vault (or OpenBao) on behalf of the keyring and the store that live there: it logs in, keeps the
// token alive, and stops asking when nobody answers.
//
// It decides when to log in again and what counts as no answer. It refuses to know what is asked: paths, bodies and the meaning
// of an answer are its users'. Nothing is taken from the environment, redirects are not followed and no request is repeated, but
// for one after a new login.
//
// A token is held in memory and sent in its header; it stands in no error and no log line.
package vaultclient
