//go:build unix

package audit

import (
	"errors"
	"os"
	"syscall"
)

// lock returns EWOULDBLOCK when the file is locked already. A file system without locks cannot keep a second writer away; that
// is no reason not to log.
func lock(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return err
	}
	return nil
}

func unlock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
