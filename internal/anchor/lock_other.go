//go:build !unix

package anchor

import (
	"errors"
	"os"
)

func lockDirectory(string) (func(), error) {
	return nil, errors.New("it needs a Unix system")
}

func keepOwner(*os.File, string) error { return nil }
