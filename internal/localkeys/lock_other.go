//go:build !unix

package localkeys

import (
	"io/fs"
	"os"

	"github.com/keybearer/keybearer"
)

// lockFile refuses: without a lock, and without owners and modes, the keys would not be safe.
func lockFile(string) (*os.File, error) {
	return nil, keybearer.NewError(keybearer.KeyringUnavailable, "the local keyring needs a Unix system").WithHint("use another keyring")
}

func ownerOf(_ fs.FileInfo, uid int) int { return uid }
