//go:build unix && !linux

package demo

import "syscall"

// processAttributes put the server into a process group of its own, so that Ctrl-C reaches only the parent, which then stops it in order.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
