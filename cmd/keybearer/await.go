package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// patience is how long a command at a terminal waits for a server that is not there: about what one takes that was started on the line before.
const patience = 5 * time.Second

// await waits for the server's socket when somebody types, since "keybearer run &" returns before the server listens. Scripts are told at once, and so
// is who named a server elsewhere. It reports nothing: the command that follows says what is wrong.
func (c *cli) await(ctx context.Context) {
	if !isTerminal(c.err) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for told := false; ; {
		cfg, err := c.serverConfig() // asked each time: which server is meant may depend on what is there
		if err != nil || cfg.Socket == "" {
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", cfg.Socket)
		if err == nil {
			_ = conn.Close()
			return
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if !told {
			c.note("waiting for the server to start")
			told = true
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}
