package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Server is a Keybearer server that runs as a child process.
type Server struct {
	Dir string // its home
	Log string // path of what it wrote to its output

	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of the process; to be read after exited is closed
}

// StartServer runs "executable args…" in the directory dir, which is also its home, and returns once it serves. The process gets
// a small environment of its own: nothing of the user's configuration, proxies or credentials. If it ends before it serves, or ctx ends, the
// error holds the last lines that it wrote. The caller stops it.
func StartServer(ctx context.Context, dir string, env []string, executable string, args ...string) (*Server, error) {
	// systemd's protocol: the server sends READY=1 to a datagram socket.
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "ready.sock"), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = ready.Close()
		_ = os.Remove(filepath.Join(dir, "ready.sock"))
	}()
	s := &Server{Dir: dir, Log: filepath.Join(dir, "server.log"), exited: make(chan struct{})}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	s.cmd = exec.Command(executable, args...)
	s.cmd.Dir = dir
	s.cmd.Env = append([]string{
		"KEYBEARER_HOME=" + dir, "HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_CACHE_HOME=" + dir,
		"PATH=" + os.Getenv("PATH"), "NOTIFY_SOCKET=" + filepath.Join(dir, "ready.sock"),
	}, env...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = processAttributes()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // see processAttributes
		err := s.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		s.err = s.cmd.Wait()
		close(s.exited)
		_ = ready.Close() // wakes who waits below
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = ready.Close() })
	defer stop()

	// Caddy says READY=1 after a failure too, but STATUS=<error> before it.
	message := make([]byte, 4096)
	for {
		n, err := ready.Read(message)
		text := message[:max(n, 0)]
		switch {
		case err == nil && bytes.HasPrefix(text, []byte("READY=1")):
			return s, nil
		case err == nil && !bytes.HasPrefix(text, []byte("STATUS=")):
			continue
		}
		select { // it ends by itself; its last words are the best ones
		case <-s.exited:
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
		_ = s.Stop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("the server did not start:\n%s", s.Tail(4))
	}
}

// Exited is closed once the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Stop asks the process to end, kills it after 10 seconds, and waits. It returns an error when the process ended with anything but
// exit code 0. It may be called more than once.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
		return errors.New("the server did not stop within 10 seconds and was killed")
	}
	return s.err
}

// Tail returns the last lines that the server wrote.
func (s *Server) Tail(lines int) string {
	text, err := os.ReadFile(s.Log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// FreePort returns a TCP port of 127.0.0.1 that nobody listened on a moment ago.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
