//go:build unix

package caddymodule

import "golang.org/x/sys/unix"

// freeSpace returns how many bytes this user can still write in a directory; -1 when that cannot be told.
func freeSpace(dir string) int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return -1
	}
	return int64(s.Bavail) * int64(s.Bsize)
}
