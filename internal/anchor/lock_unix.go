//go:build unix

package anchor

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// lockTime is how long another process may hold the lock.
const lockTime = 5 * time.Second

// lockDirectory keeps other writers away until unlock is called or the process ends. A directory needs no file of its own for that, of
// which somebody would be the owner.
func lockDirectory(path string) (unlock func(), err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockTime); ; time.Sleep(time.Millisecond) {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = d.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(end) {
			return nil, errors.Join(err, d.Close())
		}
	}
}

// keepOwner gives f to the owner of the file that it is about to replace: root may write what is the server's.
func keepOwner(f *os.File, path string) error {
	info, err := os.Stat(path)
	if err != nil || os.Geteuid() != 0 {
		return nil // it is new, or nobody else's
	}
	owner := info.Sys().(*syscall.Stat_t)
	return f.Chown(int(owner.Uid), int(owner.Gid))
}
