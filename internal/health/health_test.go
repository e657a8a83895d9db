package health

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

// ward is a checker of parts that fail when they are told to, on a clock that is set.
type ward struct {
	*Checker
	at   time.Time
	errs map[string]error
}

func newWard() *ward {
	w := &ward{at: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), errs: map[string]error{}}
	part := func(name string, grace time.Duration) Check {
		return Check{Part: name, Grace: func(error) time.Duration { return grace }, Ask: func(context.Context) error { return w.errs[name] }}
	}
	w.Checker = New(part("store", time.Minute), part("keyring", 15*time.Minute), part("audit", 0))
	w.now = func() time.Time { return w.at }
	return w
}

func (w *ward) after(d time.Duration) Status {
	w.at = w.at.Add(d)
	return w.Report().Status
}

func TestAServerIsReadyDegradedOrUnavailable(t *testing.T) {
	w := newWard()
	away := keybearer.NewError(keybearer.StoreUnavailable, "the database does not answer")
	steps := []struct {
		does string
		part string
		err  error
		d    time.Duration
		want Status
	}{
		{"all is well", "", nil, 0, Ready},
		{"the store goes away", "store", away, 2 * time.Second, Degraded},
		{"and stays away", "", nil, 59 * time.Second, Degraded},
		{"longer than it is done without", "", nil, time.Second, Unavailable},
		{"comes back", "store", nil, 2 * time.Second, Ready},
		{"goes away again, which counts anew", "store", away, 2 * time.Second, Degraded},
		{"the keyring too", "keyring", keybearer.NewError(keybearer.KeyringUnavailable, ""), 59 * time.Second, Degraded},
		{"the store's time is over, the keyring's not", "", nil, time.Second, Unavailable},
		{"the store is back", "store", nil, 2 * time.Second, Degraded},
		{"the audit log cannot be written: nothing is sent", "audit", keybearer.NewError(keybearer.AuditUnavailable, ""), 2 * time.Second, Unavailable},
		{"all is back", "audit", nil, 0, Unavailable}, // what was said a moment ago
	}
	for _, s := range steps {
		if s.part != "" {
			w.errs[s.part] = s.err
		}
		if got := w.after(s.d); got != s.want {
			t.Errorf("%s: %s, want %s", s.does, got, s.want)
		}
	}
	w.errs = map[string]error{}
	if got := w.after(keepTime); got != Ready {
		t.Errorf("at the end: %s", got)
	}
}

// A server that starts while its keyring is away has nothing in memory: it must not take the place of one that has.
func TestWhatNeverWorkedIsNotDoneWithout(t *testing.T) {
	w := newWard()
	w.errs["keyring"] = keybearer.NewError(keybearer.KeyringUnavailable, "Vault is sealed")
	for _, want := range []Status{Unavailable, Unavailable} {
		if got := w.after(2 * time.Second); got != want {
			t.Errorf("the keyring never answered: %s, want %s", got, want)
		}
	}
	w.errs = map[string]error{}
	if got := w.after(2 * time.Second); got != Ready {
		t.Errorf("it answers: %s", got)
	}
	w.errs["keyring"] = keybearer.NewError(keybearer.KeyringUnavailable, "Vault is sealed")
	if got := w.after(2 * time.Second); got != Degraded {
		t.Errorf("it has answered before: %s", got)
	}
}

func TestTheCauseIsToldInWords(t *testing.T) {
	w := newWard()
	w.after(0) // all has worked
	w.at = w.at.Add(keepTime)
	w.errs["store"] = keybearer.NewError(keybearer.StoreUnavailable, "the database does not answer").WithHint("look at PostgreSQL")
	server := httptest.NewServer(w.Handler(http.NotFoundHandler()))
	defer server.Close()
	get := func(path string) (int, string) {
		res, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	for _, path := range []string{Up, Full} {
		status, body := get(path)
		var got Report
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		want := Report{Status: Degraded, Parts: []Part{
			{Name: "store", Status: Degraded, Code: keybearer.StoreUnavailable, Detail: "the database does not answer", Hint: "look at PostgreSQL", Since: w.at},
			{Name: "keyring", Status: Ready},
			{Name: "audit", Status: Ready},
		}}
		if diff := cmp.Diff(want, got); diff != "" || status != 200 {
			t.Errorf("%s: %d\n%s", path, status, diff)
		}
	}
	w.at = w.at.Add(time.Hour)
	if status, _ := get(Up); status != 503 {
		t.Errorf("an unavailable server answers %d", status)
	}
	if status, body := get(Live); status != 200 || body != `{"status":"ready","parts":[]}`+"\n" {
		t.Errorf("an unavailable server is not alive: %d %s", status, body)
	}
	if status, _ := get("/api/v1/scopes"); status != 404 {
		t.Errorf("another path: %d", status)
	}
	res, err := http.Post(server.URL+Up, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 404 {
		t.Errorf("POST: %d", res.StatusCode)
	}
}

// Probes load the parts no more than once a second, and one that hangs does not hold the others up.
func TestManyProbesAskOnce(t *testing.T) {
	var asked atomic.Int32
	c := New(
		Check{Part: "a", Ask: func(context.Context) error { asked.Add(1); return nil }},
		Check{Part: "b", Ask: func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("no deadline")
			}
			return nil
		}},
	)
	var all sync.WaitGroup
	at := time.Now()
	c.now = func() time.Time { return at }
	for range 50 {
		all.Go(func() {
			if got := c.Report().Status; got != Ready {
				t.Errorf("%s", got)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// Nothing is asked of parts that are being closed.
func TestAClosedCheckerAsksNobody(t *testing.T) {
	asked := make(chan struct{}, 9)
	c := New(Check{Part: "a", Ask: func(ctx context.Context) error {
		asked <- struct{}{}
		<-ctx.Done() // a part that hangs
		return ctx.Err()
	}})
	reported := make(chan struct{})
	go func() { c.Report(); close(reported) }()
	<-asked
	_ = c.Close() // does not wait for the time that a part may take
	<-reported
	if got := c.Report(); got.Status != Unavailable || len(asked) != 0 {
		t.Errorf("after Close: %s, asked %d times more", got.Status, len(asked))
	}
}
