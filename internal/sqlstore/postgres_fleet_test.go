package sqlstore_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// A commit through one node is told by the others, in order, each once, and within a fraction of the 2 s that it may take.
func TestAChangeIsToldByEveryNode(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	nodes := []*sqlstore.Postgres{openPostgres(t, dsn, "a"), openPostgres(t, dsn, "b"), openPostgres(t, dsn, "c")}
	var words []*told
	for _, n := range nodes {
		words = append(words, watch(t, n))
	}
	const rounds = 100
	var took []time.Duration
	for i := range rounds {
		began := time.Now()
		_, seq := addCaller(t, nodes[i%3], fmt.Sprint("app", i))
		for j, w := range words {
			at := w.await(t, seq, 2*time.Second)
			if j != i%3 {
				took = append(took, at.Sub(began))
			}
		}
		for j, n := range nodes {
			if _, err := n.Caller(t.Context(), fmt.Sprint("app", i)); err != nil {
				t.Fatalf("node %d: %v", j, err)
			}
		}
	}
	slices.Sort(took)
	t.Logf("from before the commit to word on another node: median %v, longest %v", took[len(took)/2], took[len(took)-1])
	if took[len(took)/2] > 150*time.Millisecond {
		t.Error("that is how long asking takes; nothing was announced")
	}
	want := must(nodes[0].Changes(t.Context(), 0, 1000))(t)
	for j, w := range words {
		if d := cmp.Diff(want, w.all()); d != "" {
			t.Errorf("node %d (-feed +told):\n%s", j, d)
		}
	}
}

// Commits through all nodes at once: each node tells of every one, in order, once, and of its own before Commit returns.
func TestNodesCommitAtOnce(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	var nodes []*sqlstore.Postgres
	var words []*told
	for i := range 3 {
		nodes = append(nodes, openPostgres(t, dsn, fmt.Sprint("n", i)))
		words = append(words, watch(t, nodes[i]))
	}
	var wg sync.WaitGroup
	for i, n := range nodes {
		for w := range 3 {
			wg.Go(func() {
				for r := range 20 {
					c := &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: fmt.Sprintf("c%d-%d-%d", i, w, r)}
					seq, err := n.Commit(context.Background(), callers(c))
					if err != nil {
						t.Error(err)
						return
					}
					if !slices.Contains(words[i].all(), keybearer.Change{Seq: seq, Kind: keybearer.CallerRecord, ID: c.ID}) {
						t.Errorf("node %d: commit %d returned before it was told", i, seq)
					}
				}
			})
		}
	}
	wg.Wait()
	want := must(nodes[0].Changes(t.Context(), 0, 1000))(t)
	if len(want) != 180 {
		t.Errorf("%d changes", len(want))
	}
	for i, w := range words {
		w.await(t, want[len(want)-1].Seq, 2*time.Second)
		if d := cmp.Diff(want, w.all()); d != "" {
			t.Errorf("node %d (-feed +told):\n%s", i, d)
		}
	}
}

// Without notifications, and when the connection that listens is cut, asking finds what has changed.
func TestPollingFindsWhatNobodyAnnounces(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	a, b := openPostgres(t, dsn, "a"), openPostgres(t, dsn, "b")
	words := watch(t, b)
	db := database(t, dsn)
	commit := func(id string) {
		execute(t, db, `WITH i AS (UPDATE instance SET seq = seq + 1, change = change + 1 RETURNING seq, change)
			INSERT INTO changes (number, seq, kind, id, scope_id) SELECT change, seq, 'caller', $1, '' FROM i`, id)
	}
	began := time.Now()
	commit("silent") // nobody is notified
	words.await(t, 1, 2*time.Second)
	t.Logf("found by asking after %v", time.Since(began))

	for i := range 5 {
		if n := execute(t, db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keybearer b'`); n == 0 {
			t.Fatal("node b has no connection")
		}
		began := time.Now()
		_, seq := addCaller(t, a, fmt.Sprint("app", i))
		words.await(t, seq, 2*time.Second)
		t.Logf("found after its connections were terminated: %v", time.Since(began))
		if _, err := b.Caller(t.Context(), fmt.Sprint("app", i)); err != nil {
			t.Error(err)
		}
	}
	if words.lost() {
		t.Error("all was to be forgotten, and nothing was missed")
	}
	want := must(a.Changes(t.Context(), 0, 100))(t)
	if d := cmp.Diff(want, words.all()); d != "" {
		t.Errorf("(-feed +told):\n%s", d)
	}
}

// A hole in the feed, and a feed that was cut short, are noticed.
func TestAGapMeansEverything(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	for name, text := range map[string]string{
		"a change is missing":   `UPDATE instance SET seq = seq + 2, change = change + 2; INSERT INTO changes (number, seq, kind, id, scope_id) SELECT change, seq, 'caller', 'x', '' FROM instance`,
		"all changes are gone":  `UPDATE instance SET seq = seq + 2, change = change + 2`,
		"the last one is other": `UPDATE changes SET stamp = gen_random_uuid()`,
		"the feed went back":    `DELETE FROM changes WHERE number > 1; UPDATE instance SET seq = 1, change = 1`,
	} {
		t.Run(name, func(t *testing.T) {
			dsn := server.Database(t)
			s := openPostgres(t, dsn, "a")
			for i := range 3 {
				addCaller(t, s, fmt.Sprint("app", i))
			}
			words := watch(t, s)
			execute(t, database(t, dsn), text)
			harness.Await(t, "word that something was missed", 2*time.Second, func() error {
				if !words.lost() {
					return fmt.Errorf("told: %v", words.all())
				}
				return nil
			})
			// It goes on from there.
			c := &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "next"}
			execute(t, database(t, dsn), `UPDATE instance SET change = (SELECT max(number) FROM changes)`)
			seq := must(s.Commit(t.Context(), callers(c)))(t)
			if !slices.Contains(words.all(), keybearer.Change{Seq: seq, Kind: keybearer.CallerRecord, ID: c.ID}) &&
				words.all()[len(words.all())-1].Kind != keybearer.AllRecords {
				t.Errorf("the next commit was not told: %v", words.all())
			}
		})
	}
}

// A backup is restored beside a running server, and the first revocation comes before the server has noticed: it holds here when it is acknowledged.
func TestACommitAfterTheHistoryWentBackIsToldBeforeItReturns(t *testing.T) {
	t.Parallel()
	dsn := harness.StartPostgres(t, "fsync=off").Database(t)
	s := openPostgresConfig(t, sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn), Node: "a", Poll: time.Second})
	db := database(t, dsn)
	for round := range 20 {
		for i := range 3 {
			addCaller(t, s, fmt.Sprintf("app%d-%d", round, i))
		}
		words := watch(t, s)
		execute(t, db, `WITH i AS (UPDATE instance SET seq = seq - 2, change = change - 2 RETURNING change) DELETE FROM changes WHERE number > (SELECT change FROM i)`)
		addCaller(t, s, fmt.Sprintf("next%d", round))
		if len(words.all()) == 0 {
			t.Fatalf("round %d: nothing was told of a commit that was acknowledged", round)
		}
	}
}

// When the feed cannot be read after a commit, that commit is told all the same before it returns; and again with the others.
func TestACommitIsToldWhateverBecomesOfTheFeed(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	s := openPostgres(t, dsn, "a")
	words := watch(t, s)
	admin := database(t, server.Admin(t, dsn))
	execute(t, admin, "REVOKE SELECT ON changes FROM keybearer")
	c, seq := addCaller(t, s, "billing")
	want := keybearer.Change{Seq: seq, Kind: keybearer.CallerRecord, ID: c.ID}
	if !slices.Contains(words.all(), want) {
		t.Errorf("told: %v", words.all())
	}
	execute(t, admin, "GRANT SELECT ON changes TO keybearer")
	_, seq = addCaller(t, s, "next")
	words.await(t, seq, 2*time.Second)
	if got := words.all(); len(got) != 3 || got[1] != want || words.lost() {
		t.Errorf("told: %v", got)
	}
}

// Ten that open an empty database at once all get the same one.
func TestManyOpenAnEmptyDatabaseAtOnce(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	for range 3 {
		dsn := server.Database(t)
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				s, err := sqlstore.OpenPostgres(context.Background(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn), Node: fmt.Sprint("n", i)})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Commit(context.Background(), callers(&keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: fmt.Sprint("c", i)})); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if seq := must(openPostgres(t, dsn, "last").Sequence(t.Context()))(t); seq != 10 {
			t.Errorf("%d commits", seq)
		}
	}
}

// Each node gets the events of its own commits; those of a node that is gone are another's after a minute, and no one else's.
func TestTheOutboxOfNodes(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	names := []string{"a", "b", "c"}
	nodes := map[string]*sqlstore.Postgres{}
	for _, n := range names {
		nodes[n] = openPostgres(t, dsn, n)
	}
	commit := func(node, id string) {
		t.Helper()
		must(nodes[node].Commit(t.Context(), keybearer.Batch{Events: []keybearer.Event{{ID: id, Kind: keybearer.ChangeEvent}}}))(t)
	}
	pending := func(node string, limit int) (ids []string, seqs []uint64) {
		t.Helper()
		for _, e := range must(nodes[node].Events(t.Context(), limit))(t) {
			ids = append(ids, e.Event.ID)
			seqs = append(seqs, e.Seq)
		}
		return ids, seqs
	}
	for i := range 6 {
		commit(names[i%3], fmt.Sprint(i))
	}
	for i, n := range names {
		if ids, _ := pending(n, 10); !slices.Equal(ids, []string{fmt.Sprint(i), fmt.Sprint(i + 3)}) {
			t.Errorf("node %s: %v", n, ids)
		}
	}
	_, seqs := pending("a", 10)
	if err := nodes["a"].Delivered(t.Context(), seqs...); err != nil {
		t.Fatal(err)
	}
	if ids, _ := pending("a", 10); len(ids) != 0 {
		t.Errorf("delivered, and still there: %v", ids)
	}

	// Node c is gone for a minute; a and b ask at once, again and again.
	db := database(t, dsn)
	for i := range 50 {
		commit("c", fmt.Sprint("late", i))
	}
	execute(t, db, `UPDATE events SET since = since - 30000000 WHERE node = 'c'`)
	if ids, _ := pending("a", 100); len(ids) != 0 {
		t.Errorf("taken before the minute was over: %v", ids)
	}
	execute(t, db, `UPDATE events SET since = since - 31000000 WHERE node = 'c'`)

	// What another is taking over at this moment is not waited for.
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `UPDATE events SET node = 'd' WHERE node = 'c'`); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if ids, _ := pending("a", 100); len(ids) != 0 || time.Since(began) > 5*time.Second {
		t.Errorf("after %v, while another takes them: %v", time.Since(began), ids)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for _, n := range []string{"a", "b"} {
		wg.Go(func() {
			for range 20 {
				events, err := nodes[n].Events(t.Context(), 7)
				if err != nil {
					t.Error(err)
					return
				}
				var done []uint64
				mu.Lock()
				for _, e := range events {
					got[e.Event.ID]++
					done = append(done, e.Seq)
				}
				mu.Unlock()
				if err := nodes[n].Delivered(t.Context(), done...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	delete(got, "1") // those of b itself
	delete(got, "4")
	for id, n := range got {
		if n != 1 {
			t.Errorf("event %s was given out %d times", id, n)
		}
	}
	if len(got) != 52 {
		t.Errorf("%d events of the node that is gone were given out", len(got))
	}
	if ids, _ := pending("c", 100); len(ids) != 0 {
		t.Errorf("node c would write again: %v", ids)
	}
}

// Nodes record uses at the same time; each has its own checkpoint, nothing is lost, and no commit is waited for.
func TestTheLedgerOfNodes(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	nodes := []*sqlstore.Postgres{openPostgres(t, dsn, "a"), openPostgres(t, dsn, "b"), openPostgres(t, dsn, "c")}
	tx, err := database(t, dsn).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "UPDATE instance SET seq = seq"); err != nil { // a commit that does not end
		t.Fatal(err)
	}
	const rounds, ids = 30, 8
	at := time.Now()
	var wg sync.WaitGroup
	for n, node := range nodes {
		wg.Go(func() {
			for r := range rounds {
				var uses []keybearer.UseRecord
				for i := range ids { // in another order each time
					id := fmt.Sprint("crd_", (i*(2*n+1)+r)%ids)
					for c := range 4 {
						uses = append(uses, keybearer.UseRecord{CredentialID: id, Caller: fmt.Sprint("app", (c+r)%4), Status: 200, At: at})
					}
				}
				if err := node.RecordUses(t.Context(), uses, keybearer.Checkpoint{File: fmt.Sprint(n), Offset: int64(r)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	for n, node := range nodes {
		if got := must(node.Checkpoint(t.Context()))(t); got != (keybearer.Checkpoint{File: fmt.Sprint(n), Offset: rounds - 1}) {
			t.Errorf("node %d: %+v", n, got)
		}
	}
	for i := range ids {
		id := fmt.Sprint("crd_", i)
		u := must(nodes[0].Usage(t.Context(), id))(t)[id]
		if u.Count != 4*rounds*3 || len(u.Callers) != 4 || u.Callers[0].Count != rounds*3 {
			t.Errorf("%s: %+v", id, u)
		}
	}
	hours := must(nodes[0].UsageHours(t.Context(), at, ""))(t)[""]
	if len(hours) != 1 || hours[0].Uses != 4*rounds*3*ids {
		t.Errorf("hours: %+v", hours)
	}
}

// A node that is cut off in the middle of a commit does not keep the others waiting for long.
func TestAHungCommitIsEnded(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	cable := harness.StartCable(t, server.Addr)
	a, b := openPostgres(t, harness.Via(t, dsn, cable.Addr), "a"), openPostgres(t, dsn, "b")
	db := database(t, dsn)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "UPDATE instance SET seq = seq"); err != nil {
		t.Fatal(err)
	}
	hung := make(chan error, 1)
	go func() {
		_, err := a.Commit(context.Background(), callers(&keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: "hung"}))
		hung <- err
	}()
	harness.Await(t, "node a waiting for its turn", 5*time.Second, func() error {
		var n int
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keybearer a' AND wait_event_type = 'Lock'`).Scan(&n); err != nil || n == 0 {
			return fmt.Errorf("%d wait, %v", n, err)
		}
		return nil
	})
	cable.Stall()
	if err := tx.Rollback(); err != nil { // now node a has the turn, and does not know
		t.Fatal(err)
	}
	began := time.Now()
	addCaller(t, b, "other")
	took := time.Since(began)
	t.Logf("node b waited %v", took)
	if took > 6*time.Second {
		t.Errorf("node b waited %v", took)
	}
	if err := <-hung; keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Errorf("node a: %v", err)
	}
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("node a waited %v", took)
	}
	if _, err := b.Caller(t.Context(), "hung"); keybearer.CodeOf(err) != keybearer.NotFound {
		t.Errorf("the commit that hung: %v", err)
	}
	cable.Mend(t)
	harness.Await(t, "node a answering again", 5*time.Second, func() error {
		_, err := a.Caller(t.Context(), "other")
		return err
	})
}

// Tables of a newer version are left alone.
func TestNewerTablesAreRefused(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	s := openPostgres(t, dsn, "a")
	db := database(t, dsn)
	execute(t, db, "UPDATE keybearer_schema SET version = 99")
	_, err := sqlstore.OpenPostgres(t.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn), Node: "b", Wait: time.Minute})
	if keybearer.CodeOf(err) != keybearer.StoreUnavailable || !strings.Contains(describe(err), "newer version") {
		t.Errorf("got %v", err)
	}
	addCaller(t, s, "goes-on")

	other := server.Database(t)
	execute(t, database(t, other), "CREATE TABLE scopes (a int)")
	_, err = sqlstore.OpenPostgres(t.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(other), Node: "b"})
	if !strings.Contains(describe(err), "tables of another program") {
		t.Errorf("got %v", err)
	}
	if n := execute(t, database(t, other), "SELECT 1 FROM pg_tables WHERE schemaname = 'public'"); n != 1 {
		t.Errorf("%d tables were left", n)
	}
}
