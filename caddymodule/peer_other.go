//go:build !linux

package caddymodule

import (
	"errors"
	"net"

	"github.com/keybearer/keybearer"
)

// peerOf knows nobody: without the kernel's word the admin socket refuses everyone.
func peerOf(*net.UnixConn) (*keybearer.PeerCredentials, error) { return nil, errors.ErrUnsupported }
