package vaultkv_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultkv"
	"github.com/keybearer/keybearer/test/harness"
)

// must returns a function that gives the value, or ends the test.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newScope(name string) *keybearer.Scope {
	return &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: name}
}

func newCaller(name string) *keybearer.Caller {
	return &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: name}
}

func newCredential(scope *keybearer.Scope, name string, sealed []byte) *keybearer.Credential {
	return &keybearer.Credential{
		ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: name,
		Current: keybearer.Version{Number: 1, Sealed: sealed, Terms: keybearer.Terms{Kind: keybearer.Bearer}},
	}
}

// listener keeps what a store tells.
type listener struct {
	mu      sync.Mutex
	changes []keybearer.Change
}

func listen(t *testing.T, s *vaultkv.Store) *listener {
	l := new(listener)
	t.Cleanup(s.Watch(func(c []keybearer.Change) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changes = append(l.changes, c...)
	}))
	return l
}

func (l *listener) heard() []keybearer.Change {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.changes)
}

// A change that one process has made is told by the others, in order, and they say as of when they know all.
func TestOthersAreTold(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	a, b := h.open(t, "a"), h.open(t, "b")
	told := listen(t, b)
	scope := newScope("docs")
	var want []keybearer.Change
	for i := range 20 {
		c := newCredential(scope, fmt.Sprintf("c%d", i), []byte("sealed"))
		batch := keybearer.Batch{Writes: []keybearer.Write{{Credential: c}}}
		if i == 0 {
			batch.Writes = append([]keybearer.Write{{Scope: scope}}, batch.Writes...)
		}
		seq := must(a.Commit(t.Context(), batch))(t)
		if i == 0 {
			want = append(want, keybearer.Change{Seq: seq, Kind: keybearer.ScopeRecord, ID: scope.ID})
		}
		want = append(want, keybearer.Change{Seq: seq, Kind: keybearer.CredentialRecord, ID: c.ID, ScopeID: scope.ID})
	}
	acknowledged := time.Now()
	harness.Await(t, "the other process knows", 2*time.Second, func() error {
		if b.Current().Before(acknowledged) {
			return errors.New("it is not current")
		}
		return nil
	})
	if diff := cmp.Diff(want, told.heard()); diff != "" {
		t.Errorf("once it is current, it has not told what changed (-want +got):\n%s", diff)
	}
	if n := len(must(b.Credentials(t.Context(), keybearer.Query{}))(t).Items); n != 20 {
		t.Errorf("the other process sees %d credentials", n)
	}
	// More than the feed holds.
	var large keybearer.Batch
	for i := range 600 {
		large.Writes = append(large.Writes, keybearer.Write{Caller: newCaller(fmt.Sprintf("app%d", i))})
	}
	seq := must(a.Commit(t.Context(), large))(t)
	look(t, b)
	if got := told.heard(); len(got) <= len(want) || got[len(got)-1] != (keybearer.Change{Seq: seq, Kind: keybearer.AllRecords}) {
		t.Errorf("of more changes than the feed holds it tells %+v", got)
	}
	if _, err := b.Changes(t.Context(), seq-1, 1); keybearer.CodeOf(err) != keybearer.Stale {
		t.Errorf("the feed behind its end: %v", err)
	}
}

// Of two processes that change the same records at the same time each change wins once, none is lost, and the numbers have no gap.
func TestTwoProcessesLoseNothing(t *testing.T) {
	t.Parallel()
	const commits = 100 // of each process
	h := newLab(t, harness.VaultOptions{}).home(t)
	stores := []*vaultkv.Store{h.open(t, "a"), h.open(t, "b")}
	scope := newScope("docs")
	shared := newCredential(scope, "shared", []byte("sealed"))
	first := must(stores[0].Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}, {Credential: shared}}}))(t)
	var listeners []*listener
	for _, s := range stores {
		look(t, s)
		listeners = append(listeners, listen(t, s))
	}

	var wg sync.WaitGroup
	var mu sync.Mutex
	numbers := map[uint64]int{}
	taken := 0 // commits that found the name taken
	ref := keybearer.Ref{Scope: "docs", Name: "shared"}
	for _, s := range stores {
		for i := range commits / 2 {
			wg.Go(func() { // both want each name, and one gets it
				seq, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller(fmt.Sprintf("app%d", i))}}})
				mu.Lock()
				defer mu.Unlock()
				switch keybearer.CodeOf(err) {
				case "":
					numbers[seq]++
				case keybearer.AlreadyExists:
					taken++
				default:
					t.Error(err)
				}
			})
			wg.Go(func() { // both count up, and neither loses the other's step
				for {
					old, err := s.Credential(t.Context(), ref)
					if err != nil {
						t.Error(err)
						return
					}
					next := old.Clone()
					next.Current.Number++
					seq, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Credential: next}}})
					switch keybearer.CodeOf(err) {
					case "":
						mu.Lock()
						numbers[seq]++
						mu.Unlock()
						return
					case keybearer.Stale:
					default:
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	const want = commits + commits/2
	if len(numbers) != want || taken != commits/2 {
		t.Errorf("%d commits with a number of their own, want %d; %d found the name taken, want %d", len(numbers), want, taken, commits/2)
	}
	for i, s := range stores {
		look(t, s)
		if got := must(s.Credential(t.Context(), ref))(t).Current.Number; got != 1+commits {
			t.Errorf("store %d: %d of %d steps are there", i, got-1, commits)
		}
		if got := must(s.Sequence(t.Context()))(t); got != first+want {
			t.Errorf("store %d: sequence %d, want %d", i, got, first+want)
		}
		if got := len(must(s.Callers(t.Context(), keybearer.Query{Limit: 1000}))(t).Items); got != commits/2 {
			t.Errorf("store %d: %d callers", i, got)
		}
		next := first
		for _, c := range listeners[i].heard() {
			if c.Seq != next+1 {
				t.Fatalf("store %d: after change %d it told %+v", i, next, c)
			}
			next = c.Seq
		}
		if next != first+want {
			t.Errorf("store %d: told up to %d, want %d", i, next, first+want)
		}
	}
}

// through returns the address of a way to Vault on which every request waits until before has returned.
func through(t *testing.T, h *home, before func(*http.Request)) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(must(url.Parse(h.URL))(t))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before(r)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// A process that commits without pause does not shut out another one that is farther from Vault.
func TestEveryoneComesThrough(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	c := h.config("other")
	c.vault.Address = through(t, h, func(r *http.Request) {
		select {
		case <-time.After(4 * time.Millisecond):
		case <-r.Context().Done():
		}
	})
	busy, other := h.open(t, "busy"), openWith(t, c)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	n := 0
	wg.Go(func() {
		for ; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := busy.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller(fmt.Sprintf("busy%d", n))}}})
			if err != nil && keybearer.CodeOf(err) != keybearer.StoreUnavailable { // Vault may be slow to answer this one, too
				t.Error(err)
				return
			}
		}
	})
	var longest time.Duration
	for i, came := 0, 0; came < 20; i++ {
		start := time.Now()
		_, err := other.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller(fmt.Sprintf("other%d", i))}}})
		took := time.Since(start)
		if keybearer.CodeOf(err) == keybearer.StoreUnavailable && took < 5*time.Second && i < 40 {
			continue // Vault was slow to answer; who is shut out tries for ten seconds
		}
		if err != nil {
			t.Error(err)
			break
		}
		came++
		longest = max(longest, took)
	}
	close(stop)
	wg.Wait()
	t.Logf("20 commits beside %d of the other process, the longest in %v", n, longest)
}

// Events are given to the process that committed them, and to others when they have waited long enough.
func TestEventsOfAProcessThatIsGone(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	a, b := h.open(t, "a"), h.open(t, "b")
	for i, s := range []*vaultkv.Store{a, b} {
		must(s.Commit(t.Context(), keybearer.Batch{Events: []keybearer.Event{{ID: fmt.Sprintf("req_%d", i)}}}))(t)
	}
	look(t, a)
	ids := func(s *vaultkv.Store) (ids []string) {
		for _, e := range must(s.Events(t.Context(), 10))(t) {
			ids = append(ids, e.Event.ID)
		}
		return ids
	}
	if diff := cmp.Diff([]string{"req_0"}, ids(a)); diff != "" {
		t.Errorf("a (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"req_1"}, ids(b)); diff != "" {
		t.Errorf("b (-want +got):\n%s", diff)
	}
	b.Adopt(0)
	pending := must(b.Events(t.Context(), 10))(t)
	if len(pending) != 2 {
		t.Fatalf("b, after the wait: %+v", pending)
	}
	if err := b.Delivered(t.Context(), pending[0].Seq, pending[1].Seq); err != nil {
		t.Fatal(err)
	}
	look(t, a)
	if got := ids(a); len(got) != 0 {
		t.Errorf("a still has %v", got)
	}
	again := h.open(t, "a") // the same node, started anew
	must(a.Commit(t.Context(), keybearer.Batch{Events: []keybearer.Event{{ID: "req_2"}}}))(t)
	look(t, again)
	if diff := cmp.Diff([]string{"req_2"}, ids(again)); diff != "" {
		t.Errorf("a, started anew (-want +got):\n%s", diff)
	}
}

// A sweep that meets a commit between its buckets and its index does not take away what the commit comes to name.
func TestSweepDuringCommit(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	sweeper := h.open(t, "sweeper")
	must(sweeper.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("first")}}}))(t)
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c := h.config("slow")
	c.vault.Address = through(t, h, func(r *http.Request) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/index") {
			once.Do(func() {
				close(reached)
				<-release
			})
		}
	})
	slow := openWith(t, c)
	done := make(chan error)
	go func() {
		_, err := slow.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("second")}}})
		done <- err
	}()
	<-reached
	swept := must(sweeper.Sweep(t.Context()))(t)
	close(release)
	if swept != 1 {
		t.Errorf("%d secrets were swept, want the one of the commit", swept)
	}
	if err := <-done; err != nil {
		t.Errorf("commit: %v", err)
	}
	h.complete(t)
	must(h.open(t, "again").Caller(t.Context(), "second"))(t)
}

// Of several processes that begin at once one makes the index, and all use it. What is not theirs on the path they leave alone.
func TestManyBegin(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	for _, name := range []string{"notes", "credential-0-mine", "a/b"} {
		h.Must(t, "PUT", mount+"/data/"+h.path+"/"+name, map[string]any{"data": map[string]any{"text": "x"}})
	}
	stores := make([]*vaultkv.Store, 4)
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			var err error
			if stores[i], err = h.config(fmt.Sprintf("n%d", i)).open(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, s := range stores {
		if s == nil {
			continue
		}
		if seq := must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller(fmt.Sprintf("app%d", i))}}}))(t); seq != uint64(i+1) {
			t.Errorf("commit %d has number %d", i, seq)
		}
		if n := must(s.Sweep(t.Context()))(t); n != 0 {
			t.Errorf("%d secrets were swept", n)
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	for _, name := range []string{"notes", "credential-0-mine", "a/"} {
		if !slices.Contains(h.names(t), name) {
			t.Errorf("%s is gone", name)
		}
	}
}
