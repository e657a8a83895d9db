package proxy

import (
	"net"
	"sync"
)

// lull is a connection that knows whether it is between two requests. It is safe for concurrent use.
type lull struct {
	net.Conn

	mu     sync.Mutex
	silent bool // nothing has come since the last answer
	ending bool // it is to be closed when it is silent
}

func (l *lull) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.stir()
	}
	return n, err
}

// stir notes that something has come, rest that it was answered.
func (l *lull) stir() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = false
}

func (l *lull) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
	if l.ending {
		l.Close()
	}
}

// end closes the connection, now or when what has begun to come has been answered.
func (l *lull) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending = true
	if l.silent {
		l.Close()
	}
}
