package fleet

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// TestFiveThousandWhoWaitMakeOneCall: when nobody has the secret in memory and Vault does not answer, all wait for one call, and one call
// serves them all once it does; and while it is away there is one attempt in each second.
func TestFiveThousandWhoWaitMakeOneCall(t *testing.T) {
	const waiting = 5000
	// Vault is silent until they wait, so the server may not give it up before: how long they take to come is this machine's affair.
	f := newFleet(t, plan{nodes: 1, options: []string{"secret_ttl 1h"}, keyring: "timeout 30s"})
	n := f.nodes[0]
	f.billing(1)
	f.credential("docs/cold")
	n.web = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: n.Proxy.String()}), MaxIdleConns: waiting, MaxIdleConnsPerHost: waiting,
	}}
	defer n.web.CloseIdleConnections()
	all := func() samples {
		var wg sync.WaitGroup
		seen := make(samples, waiting)
		for i := range seen {
			wg.Go(func() { seen[i] = sample{answer: n.send(t.Context(), "docs/c0"), node: n} })
		}
		wg.Wait()
		return seen
	}
	log := f.auditVault()

	n.toVault.Stall()
	go func() {
		defer n.toVault.Mend(t)
		intents := filepath.Join(n.Home, "audit.jsonl") // each is written before its secret is asked for
		harness.Await(t, "a thousand requests wait", 25*time.Second, func() error {
			text, err := os.ReadFile(intents)
			if have := strings.Count(string(text), `"phase":"intent"`); err == nil && have < 1000 {
				err = fmt.Errorf("%d", have)
			}
			return err
		})
	}()
	first := all()
	if lost := first.failed(); len(lost) > 0 {
		t.Errorf("%d of %d were lost: %s", len(lost), waiting, lost.codes())
	}
	if calls := log.decrypts(t); calls != 1 {
		t.Errorf("%d calls of Vault for %d requests that waited for one secret", calls, waiting)
	}

	// Away for good: those who come are refused, and Vault is not stormed when it comes back.
	n.toVault.Cut()
	tries := hangUp(t, n.toVault.Addr.String())
	began, refused := time.Now(), 0
	for time.Since(began) < 3*time.Second {
		a := n.send(t.Context(), "docs/cold")
		if a.code != string(keybearer.KeyringUnavailable) || !a.retry {
			t.Fatalf("answered %q, Retry-After: %v", a.code, a.retry)
		}
		refused++
	}
	attempts := tries()
	n.toVault.Mend(t)
	if took, err := n.until("docs/cold", "", recovery); err != nil {
		t.Error(took, err)
	}
	if attempts > 20 || attempts == 0 {
		t.Errorf("%d attempts to connect in 3 s of absence", attempts)
	}
	if calls := log.decrypts(t); calls > 2 {
		t.Errorf("%d calls when Vault was back", calls)
	}
	report(t, "5,000 requests that wait for one secret", fmt.Sprintf("1 call of Vault, none lost, the slowest after %v; then, in 3 s of absence, %d refused and %d attempts to connect",
		millis(first.slowest()), refused, attempts))
}

// hangUp listens at the address and closes every connection at once. stop ends it and returns how many there were.
func hangUp(t *testing.T, addr string) (stop func() int) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan int)
	go func() {
		n := 0
		for {
			conn, err := ln.Accept()
			if err != nil {
				ended <- n
				return
			}
			n++
			_ = conn.Close()
		}
	}()
	return func() int {
		_ = ln.Close()
		return <-ended
	}
}

// vaultLog is Vault's own audit log.
type vaultLog struct {
	path string
	seen int
}

// auditVault has Vault write down every request from now on.
func (f *fleet) auditVault() *vaultLog {
	f.t.Helper()
	log := &vaultLog{path: filepath.Join(harness.Dir(f.t), "vault-audit.jsonl")}
	f.vault.Must(f.t, "PUT", "sys/audit/file", map[string]any{"type": "file", "options": map[string]any{"file_path": log.path}})
	return log
}

// decrypts is how many requests to decrypt came since the last call.
func (l *vaultLog) decrypts(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"type":"request"`) && strings.Contains(line, `"path":"keybearer/decrypt/`) {
			n++
		}
	}
	n, l.seen = n-l.seen, n
	return n
}
