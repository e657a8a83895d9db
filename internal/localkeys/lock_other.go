//go:build !unix

package localkeys

import "os"

// lock opens the lock file. Without flock nothing keeps a second process off the ring.
func (r *ringFile) lock() (err error) {
	r.held, err = os.OpenFile(r.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	return err
}

func (r *ringFile) unlock() error { return r.held.Close() }
