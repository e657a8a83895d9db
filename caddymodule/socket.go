package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// maxSocketPath is what fits into sockaddr_un on Linux.
const maxSocketPath = 107

func checkSocketPath(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("%s is longer than the %d bytes that a socket's path may have: set admin_socket to a shorter one", path, maxSocketPath)
	}
	if strings.Contains(path, "|") {
		return fmt.Errorf("%s holds a |: choose a path without", path)
	}
	return nil
}

// adminSocket serves the admin API on a unix socket.
type adminSocket struct{ server *http.Server }

// openAdminSocket listens on the path with mode 0600, while the configuration of the lease takes connections. Across a reload the old and the new configuration share the
// socket. One that another process serves is left alone.
func openAdminSocket(path string, handler http.Handler, lease *lease, logger *slog.Logger) (*adminSocket, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	if err := makeParent(path); err != nil {
		return nil, err
	}
	address, err := caddy.ParseNetworkAddress("unix/" + path + "|0600")
	if err != nil {
		return nil, err
	}
	listener, err := claimSocket(context.Background(), address, 0, net.ListenConfig{}, lease)
	if err != nil {
		return nil, fmt.Errorf("%w: set admin_socket to a path that this user may create", err)
	}
	s := &adminSocket{&http.Server{
		Handler:           handler,
		ConnContext:       withPeer,
		ConnState:         lease.watch,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}}
	go func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("admin socket ended", "path", path, "error", err)
		}
	}()
	return s, nil
}

// drainTime is how long requests to the admin socket, such as a followed audit log, may go on after the end.
const drainTime = 5 * time.Second

// close takes no more connections and returns when the requests under way are done, or cut off.
func (s *adminSocket) close() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close()
	}
}

// vacant returns nil when the path is free, held by a socket that nobody serves any more, or by one of this process.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is not a socket: move it away, or set admin_socket to another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: remove it, or set admin_socket to another path", err)
	}
	defer conn.Close()
	who := "another process"
	if p, err := peerOf(conn.(*net.UnixConn)); err == nil {
		if int(p.PID) == os.Getpid() {
			return nil
		}
		who = fmt.Sprintf("process %d", p.PID)
	}
	return fmt.Errorf("%s serves %s: stop it, or give this one a home of its own with KEYBEARER_HOME or admin_socket", who, path)
}
