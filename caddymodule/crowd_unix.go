//go:build unix

package caddymodule

import "golang.org/x/sys/unix"

// openFiles is how many files the process may have open. The runtime has raised the limit to what is allowed.
func openFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(uint64(limit.Cur), 1<<20))
}
