// Package transit is the keyring on Vault (or OpenBao) Transit: the keys never leave Vault, and each secret is sealed and opened
// there.
//
// It decides how the words of [keybearer.Keyring] are said to Transit, and reads its answers strictly. It refuses to know how one logs in, and
// what Vault's policies allow; it can only look whether they are as they should be.
//
// Each key is a derived aes256-gcm96 key of one mount. The seal context takes part in the derivation, so that a ciphertext opens at
// its own place only. A sealed secret is what Vault returns, "vault:v<N>:<base64 of nonce, ciphertext and tag>".
//
// Two roles do the work. The data role opens and can do nothing else. The control role seals, rewraps and keeps the keys, and cannot
// open; where it is missing, the keyring only opens.
package transit
