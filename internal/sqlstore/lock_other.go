//go:build !unix

package sqlstore

import (
	"os"

	"github.com/keybearer/keybearer"
)

// lock refuses: without a lock two processes could serve one database, and neither would hear of what the other revokes.
func lock(string) (*os.File, error) {
	return nil, keybearer.NewError(keybearer.StoreUnavailable, "the SQLite store needs a Unix system").WithHint("use another store")
}
