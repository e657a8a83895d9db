package e2e

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/soak"
)

// Whoever may not use a credential cannot find out whether it exists: byte for byte, but for the request's id, and to the microsecond, the answer
// is the same for what nobody ever heard of, for another scope, without a grant and after a delete.
func TestSoakTimingOfForbidden(t *testing.T) {
	w := newWorld(t)
	w.scope("docs")
	w.scope("hr")
	token := w.caller("billing", "docs")
	w.caller("payroll", "docs", "hr")
	for _, name := range []string{"docs/busy", "docs/gone", "hr/busy"} {
		w.credential(name, "bearer", "--domain", "api.example.com")
		w.grant(name, "payroll", "use")
	}
	w.grant("docs/gone", "billing", "use")
	w.must("", "credential", "delete", "docs/gone", "--force")
	ask := map[string]func(i int) string{
		"unknown":              func(int) string { return "docs/idle" },
		"never asked for":      func(i int) string { return fmt.Sprintf("docs/idle-%07d", i) },
		"unknown scope":        func(int) string { return "no/busy" },
		"of another scope":     func(int) string { return "hr/busy" },
		"existing without use": func(int) string { return "docs/busy" },
		"deleted":              func(int) string { return "docs/gone" },
	}
	var names []string
	for name := range ask {
		names = append(names, name)
	}
	slices.Sort(names)

	samples := soak.Size(t, 50, 200_000)
	took := map[string][]float64{}
	var mu sync.Mutex
	var first string
	var clients sync.WaitGroup
	var next atomic.Int64
	for range 32 {
		clients.Go(func() {
			conn, err := net.Dial("tcp", w.Proxy.String()) // one connection for all that this client asks
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			from := bufio.NewReader(conn)
			for i := int(next.Add(1)); i <= samples; i = int(next.Add(1)) {
				for _, at := range rand.Perm(len(names)) {
					name := names[at]
					text := request("GET", "http://api.example.com/", "api.example.com",
						"Keybearer-Credential: "+ask[name](i), "Proxy-Authorization: Bearer "+token)
					_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
					began := time.Now()
					if _, err = io.WriteString(conn, text); err == nil {
						_, err = from.Peek(1)
					}
					d := time.Since(began)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := readSame(from)
					mu.Lock()
					if first == "" {
						first = got
					}
					if err != nil || got != first || !strings.HasPrefix(got, "403 Forbidden") {
						t.Errorf("%s is answered\n%s (%v)\nand not\n%s", name, got, err, first)
						mu.Unlock()
						return
					}
					took[name] = append(took[name], float64(d))
					mu.Unlock()
				}
			}
		})
	}
	clients.Wait()
	if t.Failed() {
		return
	}
	apart, which, lines := soak.Apart(took)
	t.Log(strings.Join(lines, "\n"))
	if soak.Long(t) && apart >= 4.5 {
		t.Errorf("Welch's t is %.1f: %s", apart, which)
	}
	soak.Record(t, "the time to forbid through the binary, over kept connections, for "+soak.Count(len(names))+" reasons",
		soak.Count(samples)+" samples of each", fmt.Sprintf("greatest Welch's t %.1f, of 4.5 allowed (%s); the same to the byte", apart, which))
}

// readSame reads an answer and returns it without its id and date.
func readSame(from *bufio.Reader) (string, error) {
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	id := resp.Header.Get("Keybearer-Request-Id")
	resp.Header.Del("Date")
	var head strings.Builder
	if err := resp.Header.Write(&head); err != nil {
		return "", err
	}
	return strings.ReplaceAll(resp.Status+"\n"+head.String()+string(body), id, "ID"), nil
}
