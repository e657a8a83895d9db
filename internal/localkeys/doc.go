// Package localkeys keeps scope keys on this machine: the keyring of a Keybearer that needs no other service.
//
// Two files hold it, both with mode 0600. The key-encryption key (KEK), made at the first start unless it comes from
// outside, is one line:
//
//	keybearer-kek-v1 <32 bytes, base64>
//
// The ring holds the scope keys, each version 32 random bytes wrapped by AES-256-GCM under HKDF-SHA256(KEK, "wrap", name,
// version), and the names of destroyed keys, so that none comes back. It is rewritten whole and moved into place,
// and its last line is an HMAC-SHA256 of the others under HKDF-SHA256(KEK, "ring"):
//
//	{"v":1,"keys":{"<name>":["<version 1, base64>","<version 2>"]},"destroyed":["<name>"]}
//	<mac, hexadecimal>
//
// A secret is sealed by AES-256-GCM with a random nonce under HKDF-SHA256(key version, seal context), and reads
// "local:v<version>:<nonce and ciphertext, base64>".
//
// The MAC finds damage and edits by whoever lacks the KEK. It cannot find that both files, or the ring alone, were replaced by an
// older copy; what such a copy lacks is the scope's share, which the store forgets at regenerate. Keys are held in memory
// while the process runs; Go cannot promise that no copy of them remains there after use.
package localkeys
