// Package vaultkv keeps scopes, credentials, callers and operators in Vault's KV engine, version 2, for those who have only Vault: it
// is a [keybearer.Store]. It keeps no usage ledger.
//
// It decides nothing about who may read or change what, and knows neither secrets nor keys: the ciphertext of a
// credential is a run of bytes inside its record.
//
// # Form
//
// Vault knows no transaction over several secrets, but it does compare and set one. So one small secret, the index, says what is
// stored: the number of the last commit, the feed of the last changes, the outbox, and for each bucket of records the name of the secret
// that holds it. A record's bucket follows from a hash of its id. A bucket's secret has a random name, is written once and never changed.
//
//	<path>/index                 {"seq":7,"buckets":{"credential-12":"credential-12-k3q…"},"feed":[…],"outbox":[…],…}
//	<path>/credential-12-k3q…    {"crd_…":{"revision":7,"record":{…}},…}
//
// Each is JSON in the one field "text" of its secret, so that Vault's audit log has one hash of it and not one of every value.
//
// A commit writes the buckets that it changes under new names, then the index, on condition that it is still the version that the commit
// began from. If it is not, somebody else was faster: the commit is tried anew on what is there now. A crash at any moment leaves
// the old index or the new one, each with all that it names. At last the secrets that the new index no longer names are deleted with
// their metadata, so that no version of them remains.
//
// What a crash leaves unnamed is swept: before that the index is written once more as it is, and so whoever had written a bucket
// earlier, and not the index yet, finds the index changed and does not come to name what is being swept.
//
// # Following
//
// All records are held in memory, as one immutable state, and every read is answered from it. The metadata of the index is read every
// Poll; when its version has changed, the index and the buckets that it names anew are loaded and the watchers told. A read that
// finds the state not confirmed for a second asks first, and is refused when Vault does not answer.
package vaultkv
