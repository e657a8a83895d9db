package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// load sends one request over and over on a number of connections: each sends the next when the answer to the last is
// complete. It is one thread on epoll with bare sockets, so that it takes as little as possible of the processor that
// it shares with the destination.
type load struct {
	request []byte
	epoll   int
	conns   []loadConn // index is what epoll gives back
}

type loadConn struct {
	fd   int
	sent time.Time
	in   [4096]byte
	n    int // bytes in in
}

func newLoad(addr netip.AddrPort, request []byte, n int) (*load, error) {
	l := &load{request: request, conns: make([]loadConn, n), epoll: -1}
	for i := range l.conns {
		l.conns[i].fd = -1
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	for i := range l.conns {
		if err := l.connect(i, addr); err != nil {
			l.close()
			return nil, fmt.Errorf("connect to %v: %w", addr, err)
		}
	}
	return l, nil
}

func (l *load) connect(i int, addr netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	l.conns[i].fd = fd
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
}

func (l *load) close() {
	for i := range l.conns {
		if l.conns[i].fd >= 0 {
			_ = unix.Close(l.conns[i].fd)
		}
	}
	_ = unix.Close(l.epoll)
}

// run sends for the given time, waits for the last answers and returns the latencies in nanoseconds of all
// requests. Any answer but a complete 200 ends it with an error.
func (l *load) run(duration time.Duration) ([]int64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	latencies := make([]int64, 0, int(duration.Seconds()*100_000)+1000)
	start := time.Now()
	for i := range l.conns {
		if err := l.send(&l.conns[i], time.Now()); err != nil {
			return nil, err
		}
	}
	events := make([]unix.EpollEvent, len(l.conns))
	for open := len(l.conns); open > 0; {
		n, err := unix.EpollWait(l.epoll, events, 10_000)
		if err == unix.EINTR {
			continue
		} else if err != nil {
			return nil, err
		} else if n == 0 {
			return nil, fmt.Errorf("no answer for 10 s on %d of %d connections", open, len(l.conns))
		}
		for _, e := range events[:n] {
			c := &l.conns[e.Fd]
			complete, err := c.receive()
			if err != nil {
				return nil, err
			}
			if !complete {
				continue
			}
			now := time.Now()
			latencies = append(latencies, int64(now.Sub(c.sent)))
			if now.Sub(start) >= duration {
				open--
			} else if err := l.send(c, now); err != nil {
				return nil, err
			}
		}
	}
	return latencies, nil
}

func (l *load) send(c *loadConn, now time.Time) error {
	c.sent, c.n = now, 0
	n, err := unix.Write(c.fd, l.request)
	if err == nil && n < len(l.request) {
		err = fmt.Errorf("only %d of %d bytes were taken at once", n, len(l.request))
	}
	return err
}

// receive takes what has come and reports whether that completes an answer.
func (c *loadConn) receive() (bool, error) {
	n, err := unix.Read(c.fd, c.in[c.n:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return false, nil
	} else if err != nil {
		return false, err
	} else if n == 0 {
		return false, fmt.Errorf("the proxy closed the connection or sent too much: %q", c.in[:c.n])
	}
	c.n += n
	answer := c.in[:c.n]
	end := bytes.Index(answer, []byte("\r\n\r\n"))
	if end < 0 {
		return false, nil
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		return false, fmt.Errorf("answer %q", answer)
	}
	length, err := contentLength(answer[:end+2])
	if err != nil {
		return false, err
	}
	switch missing := end + 4 + length - c.n; {
	case missing < 0:
		return false, fmt.Errorf("bytes after the answer: %q", answer)
	default:
		return missing == 0, nil
	}
}

// contentLength finds the one Content-Length in a head, in either of the two spellings that are in use.
func contentLength(head []byte) (int, error) {
	i := bytes.Index(head, []byte("\r\nContent-Length: "))
	if i < 0 {
		i = bytes.Index(head, []byte("\r\ncontent-length: "))
	}
	if i < 0 {
		return 0, fmt.Errorf("no Content-Length in %q", head)
	}
	value, _, _ := bytes.Cut(head[i+len("\r\nContent-Length: "):], []byte("\r\n"))
	return strconv.Atoi(string(value))
}
