// Package harness starts the real parts that Keybearer is tested and measured with, on loopback and in temporary
// directories: Keybearer's own binary, nginx, HAProxy, PostgreSQL, recording destinations, a certificate authority, a DNS
// server, and cables between them that can be cut. It knows no test and makes no judgement.
//
// Everything that is started ends with the test that started it, and the tail of its log is printed when that test failed.
// All of it is safe for concurrent use unless said otherwise.
package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// TB is the part of [testing.TB] that the harness needs. The benchmark program implements it too.
type TB interface {
	Helper()
	Name() string
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Dir makes a directory of mode 0700 that is removed at the end of the test. Its path is short, so that a
// unix socket fits in (108 bytes).
func Dir(tb TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "kb-")
	if err != nil {
		tb.Fatalf("temporary directory: %v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// WriteFile writes a file of mode 0600 and returns its path.
func WriteFile(tb TB, path string, content []byte) string {
	tb.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatalf("%v", err)
	}
	return path
}

// Await polls a condition until it holds (nil) and ends the test with its last error if it does not within the given time.
func Await(tb TB, what string, within time.Duration, condition func() error) {
	tb.Helper()
	if err := await(tb.Context(), within, condition); err != nil {
		tb.Fatalf("%s: not within %v: %v", what, within, err)
	}
}

func await(ctx context.Context, within time.Duration, condition func() error) error {
	deadline := time.Now().Add(within)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

var (
	addressesMu sync.Mutex
	addresses   = map[netip.Addr]bool{}
)

// Address returns an address of 127.0.0.0/8 that nothing else in this run uses, so that servers can listen on the
// ports that they have in real life, 443 among them, whatever else runs on the machine.
func Address() netip.Addr {
	addressesMu.Lock()
	defer addressesMu.Unlock()
	for {
		n := rand.Uint32N(1<<24-(2<<16)) + 1<<16
		a := netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)})
		if low := byte(n); low != 0 && low != 255 && !addresses[a] {
			addresses[a] = true
			return a
		}
	}
}

var (
	portsMu sync.Mutex
	ports   = map[uint16]bool{}
)

// FreePort returns a TCP port of 127.0.0.1 that is free and that no other call in this run gets. It lies below the ports
// that the kernel gives to connections, so that none takes it meanwhile. Prefer [Address] where the address can be chosen.
func FreePort(tb TB) uint16 {
	tb.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 100 {
		port := uint16(10_000 + rand.IntN(20_000))
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil || ports[port] {
			continue
		}
		_ = ln.Close()
		ports[port] = true
		return port
	}
	tb.Fatalf("no free port")
	return 0
}
