// Package wycheproof holds the version of the test vectors; see go.mod.
package wycheproof

import _ "github.com/c2sp/wycheproof" // so that go mod tidy keeps it
