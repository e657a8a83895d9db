//go:build unix

package sqlstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/keybearer/keybearer"
)

// lock takes the lock file of a database until the file is closed. The system lets go of it when the process ends,
// however that happens. The file stays: to remove it would let two processes hold two locks.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(path, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		_ = f.Close()
		who := "another process"
		if p := strings.TrimSpace(string(pid)); p != "" {
			who = "process " + p
		}
		return nil, keybearer.NewError(keybearer.StoreUnavailable, fmt.Sprintf("%s is in use by %s", strings.TrimSuffix(path, lockSuffix), who)).
			WithHint("stop that process, or give this one a store of its own with KEYBEARER_HOME")
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return nil, unusable(path, err)
	}
	return f, nil
}
