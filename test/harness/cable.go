package harness

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Cable is what lies between two parts: a TCP proxy that can be cut or stalled, as a network can. It listens on an address of its
// own, at the port of what it leads to.
type Cable struct {
	Addr netip.AddrPort

	to          netip.AddrPort
	connections atomic.Int64
	bytes       atomic.Int64

	mu    sync.Mutex
	ln    net.Listener // nil while cut
	open  map[net.Conn]struct{}
	flows chan struct{} // closed while bytes may pass
}

// StartCable lays a cable. It is mended until cut or stalled.
func StartCable(tb TB, to netip.AddrPort) *Cable {
	tb.Helper()
	c := &Cable{Addr: netip.AddrPortFrom(Address(), to.Port()), to: to, open: map[net.Conn]struct{}{}, flows: make(chan struct{})}
	close(c.flows)
	c.Mend(tb)
	tb.Cleanup(c.Cut)
	return c
}

// Connections returns how many connections were made so far.
func (c *Cable) Connections() int64 { return c.connections.Load() }

// Bytes returns how many bytes have passed so far, both ways together.
func (c *Cable) Bytes() int64 { return c.bytes.Load() }

// Cut closes all connections; new ones are refused.
func (c *Cable) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ln != nil {
		_ = c.ln.Close()
		c.ln = nil
	}
	for conn := range c.open {
		_ = conn.Close()
	}
	c.flow()
}

// Stall keeps connections open and accepts new ones, and lets no byte pass: packets are lost on the way.
func (c *Cable) Stall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.flows:
		c.flows = make(chan struct{})
	default:
	}
}

// flow ends a stall. The caller holds mu.
func (c *Cable) flow() {
	select {
	case <-c.flows:
	default:
		close(c.flows)
	}
}

// Mend ends Cut and Stall. What was on its way when it stalled arrives now.
func (c *Cable) Mend(tb TB) {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flow()
	if c.ln != nil {
		return
	}
	ln, err := net.Listen("tcp", c.Addr.String())
	if err != nil {
		tb.Fatalf("cable: %v", err)
	}
	c.ln = ln
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // cut
			}
			c.connections.Add(1)
			go c.join(ln, conn)
		}
	}()
}

// join connects one end with the other until either closes, or the cable is cut.
func (c *Cable) join(ln net.Listener, near net.Conn) {
	far, err := net.Dial("tcp", c.to.String())
	if err != nil {
		_ = near.Close()
		return
	}
	c.mu.Lock()
	whole := c.ln == ln
	if whole {
		c.open[near], c.open[far] = struct{}{}, struct{}{}
	}
	c.mu.Unlock()
	var wg sync.WaitGroup
	if whole {
		wg.Go(func() { c.pass(far, near) })
		wg.Go(func() { c.pass(near, far) })
		wg.Wait()
	}
	_, _ = near.Close(), far.Close()
	c.mu.Lock()
	delete(c.open, near)
	delete(c.open, far)
	c.mu.Unlock()
}

// pass copies from one end to the other, and says so when there is no more.
func (c *Cable) pass(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			c.mu.Lock()
			flows := c.flows
			c.mu.Unlock()
			<-flows
			if _, err := to.Write(buffer[:n]); err != nil {
				_ = from.Close()
				return
			}
			c.bytes.Add(int64(n))
		}
		if err != nil {
			_ = to.(*net.TCPConn).CloseWrite() // it may be closed already
			return
		}
	}
}
