//go:build unix

package localkeys

import (
	"os"
	"syscall"
)

// lock keeps other processes off the ring until unlock or the end of this one.
func (r *ringFile) lock() error {
	f, err := os.OpenFile(r.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fileError(r.path+".lock", "cannot be made", "make its directory, and let this user write there", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return fileError(r.path, "is in use by another process", "stop the other Keybearer, or give this one a home of its own", err)
	}
	r.held = f
	return nil
}

func (r *ringFile) unlock() error { return r.held.Close() }
