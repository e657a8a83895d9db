package demo

import "syscall"

// processAttributes put the server into a process group of its own, so that Ctrl-C reaches only the parent, which then stops it in
// order, and have the kernel end it should the parent be killed: strictly, when the thread ends that started it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
