package caddymodule

import (
	"net"
	"syscall"

	"github.com/keybearer/keybearer"
)

// peerOf asks the kernel who is at the other end: for an accepted connection the process that connected, for a dialled
// one the process that listens (unix(7), SO_PEERCRED).
func peerOf(conn *net.UnixConn) (*keybearer.PeerCredentials, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *syscall.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	if cerr != nil {
		return nil, cerr
	}
	return &keybearer.PeerCredentials{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid}, nil
}
