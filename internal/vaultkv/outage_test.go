package vaultkv_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultkv"
	"github.com/keybearer/keybearer/test/harness"
)

// While Vault does not answer, reads are refused once the state has not been confirmed for a second, and commits at once; when it is back, both
// work again without anything being opened anew.
func TestVaultIsAway(t *testing.T) {
	t.Parallel()
	l := newLab(t, harness.VaultOptions{Persistent: true})
	h := l.home(t)
	s, other := h.open(t, "a"), h.open(t, "b")
	told := listen(t, other)
	n := 0
	commit := func(s *vaultkv.Store) error {
		n++
		_, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller(fmt.Sprintf("app%d", n))}}})
		return err
	}
	if err := commit(s); err != nil {
		t.Fatal(err)
	}
	read := func(s *vaultkv.Store) error {
		_, err := s.Caller(t.Context(), "app1")
		return err
	}
	for _, outage := range []struct {
		name       string
		begin, end func()
	}{
		{"sealed", func() { l.Seal(t) }, func() { l.Unseal(t) }},
		{"stopped", func() { l.Stop(t) }, func() { l.Start(t) }},
		{"killed", func() { l.Kill() }, func() { l.Start(t) }},
		{"stalled", func() { l.Signal(syscall.SIGSTOP) }, func() { l.Signal(syscall.SIGCONT) }},
	} {
		t.Run(outage.name, func(t *testing.T) {
			began := time.Now()
			outage.begin()
			harness.Await(t, "reads are refused", 4*time.Second, func() error {
				if err := read(s); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
					return fmt.Errorf("read: %w", err)
				}
				return nil
			})
			refused := time.Since(began)
			current := s.Current()
			began = time.Now()
			err := commit(s)
			if keybearer.CodeOf(err) != keybearer.StoreUnavailable || time.Since(began) > 4*time.Second {
				t.Errorf("commit: %v after %v", err, time.Since(began))
			}
			if e := keybearer.AsError(err); e.Message() == "" || e.Advice() == keybearer.StoreUnavailable.Info().Hint {
				t.Errorf("commit: it does not say what to do: %q, %q", e.Message(), e.Advice())
			}
			if err := read(s); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
				t.Errorf("read: %v", err)
			}
			if s.Current().After(current) {
				t.Error("it claims to be current")
			}
			outage.end()
			began = time.Now()
			harness.Await(t, "it is back", 5*time.Second, func() error { return errors.Join(read(s), read(other)) })
			back := time.Since(began)
			if err := commit(s); err != nil {
				t.Errorf("commit: %v", err)
			}
			look(t, other)
			if c := told.heard(); c[len(c)-1].Seq != must(s.Sequence(t.Context()))(t) {
				t.Errorf("the other process has heard up to %+v", c[len(c)-1])
			}
			t.Logf("reads refused after %v, served again after %v", refused.Round(time.Millisecond), back.Round(time.Millisecond))
		})
	}
}

// An index that is deleted, or made anew behind the store's back, is never taken for an empty store or for the old one.
func TestIndexIsGone(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	s := h.open(t, "a")
	told := listen(t, s)
	seq := must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("billing")}}}))(t)
	index := mount + "/metadata/" + h.path + "/index"
	content := h.Must(t, "GET", mount+"/data/"+h.path+"/index", nil).Data(t)["data"]

	h.Must(t, "DELETE", index, nil)
	if err := s.Look(); err == nil {
		t.Error("a look finds nothing wrong")
	}
	if _, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("mail")}}}); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("commit: %v", err)
	}
	if _, err := h.config("b").open(t.Context()); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("open: %v", err)
	}
	// Restored as it was: it begins with version 1 again, and is read anew.
	h.Must(t, "PUT", mount+"/data/"+h.path+"/index", map[string]any{"data": content})
	look(t, s)
	if got := must(s.Sequence(t.Context()))(t); got != seq {
		t.Errorf("sequence %d, want %d", got, seq)
	}
	if got := told.heard(); len(got) != 1 {
		t.Errorf("nothing has changed, and it told %+v", got)
	}
	// The same commits, and another history.
	other := maps.Clone(content.(map[string]any))
	stamp := regexp.MustCompile(`("stamp"|"t"):"\w{8}"`)
	other["text"] = stamp.ReplaceAllString(other["text"].(string), `$1:"ABCDEFGH"`)
	h.Must(t, "PUT", mount+"/data/"+h.path+"/index", map[string]any{"data": other})
	look(t, s)
	if c := told.heard(); c[len(c)-1].Kind != keybearer.AllRecords {
		t.Errorf("told %+v", c)
	}
	// Another store's index: everything that was known is forgotten.
	elsewhere := h.lab.home(t)
	must(elsewhere.open(t, "c").Commit(t.Context(), keybearer.Batch{Events: []keybearer.Event{{ID: "req_1"}}}))(t)
	content = h.Must(t, "GET", mount+"/data/"+elsewhere.path+"/index", nil).Data(t)["data"]
	h.Must(t, "PUT", mount+"/data/"+h.path+"/index", map[string]any{"data": content})
	look(t, s)
	if c := told.heard(); c[len(c)-1].Kind != keybearer.AllRecords {
		t.Errorf("told %+v", c)
	}
	if _, err := s.Caller(t.Context(), "billing"); keybearer.CodeOf(err) != keybearer.NotFound {
		t.Errorf("a caller of the store that was there before: %v", err)
	}
}

// Nobody is advised to begin with an empty store because a proxy has lost Vault, or the mount is not there.
func TestOnlyVaultSaysThatTheIndexIsGone(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	target := must(url.Parse(h.URL))(t)
	proxy := httputil.NewSingleHostReverseProxy(target)
	var says atomic.Pointer[string]
	front := harness.StartServer(t, harness.ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text := says.Load(); text != nil {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, *text)
			return
		}
		proxy.ServeHTTP(w, r)
	})})
	c := h.config("a")
	c.vault.Address = "http://" + front.Addr.String()
	s := openWith(t, c)
	for _, text := range []string{"", "<h1>404</h1>", "{}", `{"errors":["no handler for route"]}`} {
		says.Store(&text)
		var e *keybearer.Error
		harness.Await(t, "reads are refused", 4*time.Second, func() error {
			_, err := s.Caller(t.Context(), "billing")
			if e = keybearer.AsError(err); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
				return fmt.Errorf("read: %w", err)
			}
			return nil
		})
		if strings.Contains(e.Hint, "delete") {
			t.Errorf("404 %s: %v; %s", text, e, e.Hint)
		}
		says.Store(nil)
		look(t, s)
	}
}

// An index that names a bucket that is not there is not served.
func TestBucketIsGone(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	s := h.open(t, "a")
	must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("billing")}}}))(t)
	for _, name := range h.names(t) {
		if name != "index" {
			h.Must(t, "DELETE", mount+"/metadata/"+h.path+"/"+name, nil)
		}
	}
	_, err := h.config("b").open(t.Context())
	if e := keybearer.AsError(err); keybearer.CodeOf(err) != keybearer.StoreUnavailable || e.Detail != "what the store holds in Vault cannot be read" {
		t.Errorf("open: %v", err)
	}
}

// When the answer to a commit is lost, nobody is told anything of before it as if it were now: what Vault has is read first.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	var lose atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(must(url.Parse(h.URL))(t))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/index") || !lose.CompareAndSwap(true, false) {
			proxy.ServeHTTP(w, r)
			return
		}
		proxy.ServeHTTP(httptest.NewRecorder(), r) // Vault has done it
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	t.Cleanup(server.Close)
	c := h.config("a")
	c.vault.Address, c.Poll = server.URL, time.Hour
	s := openWith(t, c)
	told := listen(t, s)
	first := must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("first")}}}))(t)
	lose.Store(true)
	_, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("second")}}})
	if keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Fatalf("commit: %v", err)
	}
	harness.Await(t, "it is read again", 5*time.Second, func() error {
		_, err := s.Caller(t.Context(), "second")
		if keybearer.CodeOf(err) == keybearer.NotFound {
			t.Fatal("it answers with what was there before the commit")
		}
		return err
	})
	if c := told.heard(); len(c) != 2 || c[1].Seq != first+1 {
		t.Errorf("told %+v", c)
	}
	if seq := must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("third")}}}))(t); seq != first+2 {
		t.Errorf("the next commit is %d, want %d", seq, first+2)
	}
	must(s.Sweep(t.Context()))(t) // a bucket that the lost commit replaced was left, since nobody knew
	h.complete(t)
}
