package sqlstore_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// load commits and reads through a store until stop is called, and keeps what was acknowledged.
type load struct {
	stop         context.CancelFunc
	wg           sync.WaitGroup
	acknowledged sync.Map // name of a caller: true
	commits      atomic.Int64
	failures     atomic.Int64
	slowest      atomic.Int64 // refusal to read, in nanoseconds
	longest      atomic.Int64 // commit, made or not
}

func startLoad(t *testing.T, name string, s keybearer.Store) *load {
	t.Helper()
	addCaller(t, s, name+"-read")
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop}
	pace := time.NewTicker(time.Millisecond) // leaves the processors to the others
	t.Cleanup(pace.Stop)
	for w := range 2 {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				<-pace.C
				c := &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: fmt.Sprintf("%s-%d-%d", name, w, i)}
				began := time.Now()
				_, err := s.Commit(context.Background(), callers(c))
				l.longest.Store(max(l.longest.Load(), int64(time.Since(began))))
				switch keybearer.CodeOf(err) {
				case "":
					l.acknowledged.Store(c.Name, true)
					l.commits.Add(1)
				case keybearer.StoreUnavailable:
					l.failures.Add(1)
				default:
					t.Errorf("commit: %v", err)
				}
			}
		})
	}
	l.wg.Go(func() {
		for ctx.Err() == nil {
			<-pace.C
			began := time.Now()
			_, err := s.Caller(context.Background(), name+"-read")
			took := int64(time.Since(began))
			if keybearer.CodeOf(err) == keybearer.StoreUnavailable {
				l.slowest.Store(max(l.slowest.Load(), took))
			} else if err != nil {
				t.Errorf("read: %v", err)
			}
		}
	})
	t.Cleanup(l.end)
	return l
}

func (l *load) end() { l.stop(); l.wg.Wait() }

// more waits for further commits.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	want := l.commits.Load() + n
	harness.Await(t, "commits after the outage", 10*time.Second, func() error {
		if got := l.commits.Load(); got < want {
			return fmt.Errorf("%d of %d", got, want)
		}
		return nil
	})
}

// complete checks that all that was acknowledged is there.
func (l *load) complete(t *testing.T, s keybearer.Store) {
	t.Helper()
	n := 0
	l.acknowledged.Range(func(name, _ any) bool {
		n++
		if _, err := s.Caller(t.Context(), name.(string)); err != nil {
			t.Errorf("acknowledged, and then: %s: %v", name, err)
		}
		return true
	})
	t.Logf("%d commits acknowledged and there, %d failed; the slowest refusal to read took %v, the longest commit %v",
		n, l.failures.Load(), time.Duration(l.slowest.Load()), time.Duration(l.longest.Load()))
}

// A server that is stopped or killed and started again, under load: nothing acknowledged is lost, and the stores go on by themselves
// and have missed nothing.
func TestAServerIsRestartedUnderLoad(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *harness.Postgres){
		"stopped": func(t *testing.T, p *harness.Postgres) { p.Stop(t) },
		"killed":  func(t *testing.T, p *harness.Postgres) { p.Kill(t) },
	} {
		t.Run(name, func(t *testing.T) {
			server := harness.StartPostgres(t)
			dsn := server.Database(t)
			a, b := openPostgres(t, dsn, "a"), openPostgres(t, dsn, "b")
			words := watch(t, b)
			la, lb := startLoad(t, "a", a), startLoad(t, "b", b)
			for round := range 3 {
				la.more(t, 20)
				began := time.Now()
				end(t, server)
				t.Logf("ended after %v", time.Since(began))
				if round == 0 { // as long as it is away, and so that both notice
					if _, err := a.Caller(t.Context(), "a-read"); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
						t.Errorf("read: %v", err)
					}
				}
				server.Start(t)
				up := time.Now()
				la.more(t, 1)
				lb.more(t, 1)
				t.Logf("both commit %v after the server is back", time.Since(up))
			}
			la.end()
			lb.end()
			la.complete(t, b)
			lb.complete(t, a)
			all := must(a.Changes(t.Context(), 0, 100_000))(t)
			words.await(t, all[len(all)-1].Seq, 2*time.Second)
			if !words.lost() {
				known := map[keybearer.Change]bool{}
				for _, c := range words.all() {
					known[c] = true
				}
				for _, c := range all {
					if !known[c] {
						t.Fatalf("node b never told of %+v", c)
					}
				}
			}
		})
	}
}

// A node behind a cable that is stalled or cut knows that it is no longer current, refuses to read at once, and misses nothing.
func TestANodeIsCutOff(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	for name, part := range map[string]func(*harness.Cable){"stalled": (*harness.Cable).Stall, "cut": (*harness.Cable).Cut} {
		t.Run(name, func(t *testing.T) {
			dsn := server.Database(t)
			cable := harness.StartCable(t, server.Addr)
			far, near := openPostgres(t, harness.Via(t, dsn, cable.Addr), "far"), openPostgres(t, dsn, "near")
			words := watch(t, far)
			_, first := addCaller(t, near, "first")
			words.await(t, first, 2*time.Second)
			harness.Await(t, "a current node", 2*time.Second, func() error {
				if age := time.Since(far.Current()); age > 400*time.Millisecond {
					return fmt.Errorf("current as of %v ago", age)
				}
				return nil
			})

			part(cable)
			parted := time.Now()
			_, missed := addCaller(t, near, "missed")
			// The first to ask may wait as long as a connection may be silent; nobody after that.
			_, err := far.Caller(t.Context(), "first")
			if took := time.Since(parted); keybearer.CodeOf(err) != keybearer.StoreUnavailable || took > 2*time.Second {
				t.Errorf("the first read after %v: %v", took, err)
			}
			var slow atomic.Int64
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					for range 50 {
						began := time.Now()
						if _, err := far.Caller(context.Background(), "first"); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
							t.Errorf("read while parted: %v", err)
						}
						if time.Since(began) > 500*time.Millisecond {
							slow.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if n := slow.Load(); n > 20 {
				t.Errorf("%d of 1000 reads waited", n)
			}
			if far.Current().After(parted) {
				t.Errorf("current as of %v after it was parted", far.Current().Sub(parted))
			}
			began := time.Now()
			_, err = far.Commit(t.Context(), callers(&keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "lost"}))
			if took := time.Since(began); keybearer.CodeOf(err) != keybearer.StoreUnavailable || took > 11*time.Second {
				t.Errorf("a commit while parted, after %v: %v", took, err)
			}

			cable.Mend(t)
			mended := time.Now()
			at := words.await(t, missed, 3*time.Second)
			harness.Await(t, "reading", 3*time.Second, func() error {
				_, err := far.Caller(t.Context(), "missed")
				return err
			})
			t.Logf("told %v and reads %v after the mending", at.Sub(mended), time.Since(mended))
			if words.lost() {
				t.Error("all was to be forgotten, and nothing was missed")
			}
			addCaller(t, far, "again")
		})
	}
}

// A caller that is impatient says nothing about the database.
func TestAnImpatientCallerClosesNothing(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	s := openPostgres(t, server.Database(t), "a")
	addCaller(t, s, "billing")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		if _, err := s.Caller(gone, "billing"); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
			t.Errorf("read: %v", err)
		}
		if _, err := s.Caller(t.Context(), "billing"); err != nil {
			t.Fatalf("the next one: %v", err)
		}
	}
}

// A read-only server is read; changes say what is wrong, and work again when it is not.
func TestAReadOnlyServer(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	s := openPostgres(t, dsn, "a")
	words := watch(t, s)
	addCaller(t, s, "billing")
	server.ReadOnly(t, true)
	_, err := s.Commit(t.Context(), callers(&keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "x"}))
	if got := describe(err); got != "store_unavailable | the database is read-only | name the primary in the DSN, or end its read-only mode; nothing was changed" {
		t.Errorf("commit: %s", got)
	}
	for _, node := range []string{"a", "b"} {
		other := openPostgres(t, dsn, node+"-late") // it can be started, too
		if _, err := other.Caller(t.Context(), "billing"); err != nil {
			t.Errorf("read: %v", err)
		}
	}
	if _, err := s.Caller(t.Context(), "billing"); err != nil {
		t.Errorf("read: %v", err)
	}
	server.ReadOnly(t, false)
	_, seq := addCaller(t, s, "y")
	if !slices.ContainsFunc(words.all(), func(c keybearer.Change) bool { return c.Seq == seq }) {
		t.Error("not told")
	}
}

// A backup that is restored under live stores: everything that they know is to be forgotten, even when the sequence has caught up by the time
// that they look.
func TestABackupIsRestored(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	cable := harness.StartCable(t, server.Addr)
	a, b := openPostgres(t, harness.Via(t, dsn, cable.Addr), "a"), openPostgres(t, dsn, "b")
	c, _ := addCaller(t, a, "billing")
	dump := server.Dump(t, dsn)
	next := c.Clone()
	next.Description = "revoked" // and the backup does not know
	next.Revision = must(a.Commit(t.Context(), callers(next)))(t)
	words := []*told{watch(t, a), watch(t, b)}

	cable.Cut() // a does not look while this happens
	server.Restore(t, dsn, dump)
	again := c.Clone()
	again.Description = "granted anew"
	harness.Await(t, "a commit on what was restored", 5*time.Second, func() error {
		seq, err := b.Commit(t.Context(), callers(again))
		if err == nil && seq != next.Revision {
			t.Errorf("commit %d, not %d: the test does not show what it should", seq, next.Revision)
		}
		return err
	})
	cable.Mend(t)
	for i, w := range words {
		harness.Await(t, fmt.Sprintf("word to node %d that all is to be forgotten", i), 5*time.Second, func() error {
			if !w.lost() {
				return fmt.Errorf("told: %v", w.all())
			}
			return nil
		})
	}
	_, seq := addCaller(t, b, "after")
	for _, w := range words {
		w.await(t, seq, 2*time.Second)
	}
	if got := must(a.Caller(t.Context(), "billing"))(t); got.Description != "granted anew" {
		t.Errorf("got %+v", got)
	}
}

// A store that is opened while the server is away waits as long as it may, and says what it lacks when that was not enough.
func TestAServerThatComesLater(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	server.Stop(t)
	config := sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn), Node: "a"}
	began := time.Now()
	_, err := sqlstore.OpenPostgres(t.Context(), config)
	if got, want := describe(err), "store_unavailable | the database at "+server.Addr.String()+" cannot be reached | "; len(got) < len(want) || got[:len(want)] != want {
		t.Errorf("got %s", got)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it waited %v", took)
	}
	opened := make(chan error, 1)
	config.Wait = time.Minute
	go func() {
		s, err := sqlstore.OpenPostgres(context.Background(), config)
		if err == nil {
			_, err = s.Commit(context.Background(), callers(&keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "x"}))
			_ = s.Close()
		}
		opened <- err
	}()
	server.Start(t)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// Behind a pooler an open connection may come to lead to a standby. What that says of a revocation may be out of date, so it says nothing. A function
// of that name before the server's own plays the standby.
func TestAStandbyBehindAnOpenConnectionIsNotBelieved(t *testing.T) {
	t.Parallel()
	dsn := harness.StartPostgres(t, "fsync=off").Database(t)
	db := database(t, dsn)
	execute(t, db, `CREATE TABLE role (standby BOOLEAN)`)
	execute(t, db, `INSERT INTO role VALUES (false)`)
	execute(t, db, `CREATE FUNCTION pg_is_in_recovery() RETURNS BOOLEAN LANGUAGE sql AS 'SELECT standby FROM public.role'`)
	s := openPostgres(t, dsn+"&search_path=public,pg_catalog", "a")
	addCaller(t, s, "billing")
	read := func() error { _, err := s.Caller(t.Context(), "billing"); return err }
	if err := read(); err != nil {
		t.Fatal(err)
	}
	execute(t, db, `UPDATE public.role SET standby = true`)
	harness.Await(t, "reads are refused", 30*time.Second, func() error {
		if err := read(); keybearer.CodeOf(err) != keybearer.StoreUnavailable || !strings.Contains(keybearer.AsError(err).Detail, "standby") {
			return fmt.Errorf("read: %v", err)
		}
		return nil
	})
	at := s.Current()
	execute(t, db, `UPDATE public.role SET standby = false`)
	harness.Await(t, "the primary is back", 30*time.Second, read)
	if !s.Current().After(at) {
		t.Error("it does not know that it is current again")
	}
}
