package sqlstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// unbounded is the context of children, which have no test.
var unbounded = context.Background()

// commitForever creates, changes and deletes callers and credentials, and prints each change once it is acknowledged.
func commitForever(path string) {
	s, err := sqlstore.OpenSQLite(unbounded, path)
	if err != nil {
		die("open", err)
	}
	scope, err := s.Scope(unbounded, "docs")
	if err != nil {
		die("scope", err)
	}
	for i := 0; ; i++ {
		c := &keybearer.Credential{
			ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: fmt.Sprintf("c%d", rand.Uint64()),
			Current: keybearer.Version{Number: 1, Sealed: make([]byte, rand.IntN(6000))},
		}
		commit := func(deleted bool) {
			seq, err := s.Commit(unbounded, keybearer.Batch{
				Writes: []keybearer.Write{{Credential: c, Delete: deleted}},
				Events: []keybearer.Event{{ID: fmt.Sprint(c.Name, c.Current.Number, deleted)}},
			})
			if err != nil {
				die("commit", err)
			}
			c.Revision = seq
			fmt.Println(seq, c.Name, c.Current.Number, deleted)
		}
		commit(false)
		for range i % 3 {
			c.Current.Number++
			commit(false)
		}
		if i%4 == 3 {
			commit(true)
		}
	}
}

// TestKill kills a process that commits, again and again, and checks each time that all that it had acknowledged is there and
// the database whole.
func TestKill(t *testing.T) {
	rounds := 30
	if large {
		rounds = 1000
	}
	_, path := home(t)
	closed(t, path)
	type state struct {
		seq, version uint64
		deleted      bool
	}
	acknowledged := make(map[string]state)
	events := make(map[string]bool)
	last := uint64(0)
	for round := range rounds {
		c := startChild(t, "commit", path)
		line := c.line(t)
		count := 1 + rand.IntN(30) // acknowledgements to wait for
		for n := 1; ; n++ {
			if n == count { // then, somewhere within the next commits
				time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = c.Process.Kill() })
			}
			var s state
			var name string
			if _, err := fmt.Sscan(line, &s.seq, &name, &s.version, &s.deleted); err != nil {
				t.Fatalf("round %d: the child says %q", round, line)
			}
			acknowledged[name] = s
			events[fmt.Sprint(name, s.version, s.deleted)] = true
			last = s.seq
			if !c.lines.Scan() {
				break
			}
			line = c.lines.Text()
		}
		_ = c.Wait()

		s := openAtOnce(t, path)
		if seq, err := s.Sequence(t.Context()); err != nil || seq < last || seq > last+1 {
			t.Errorf("round %d: the last commit is %d (%v), %d was acknowledged", round, seq, err, last)
		}
		for name, want := range acknowledged {
			got, err := s.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: name})
			// What was not acknowledged any more may be there too: one step further.
			switch {
			case want.deleted && keybearer.CodeOf(err) == keybearer.NotFound:
			case !want.deleted && err == nil && (got.Revision == want.seq && got.Current.Number == want.version || got.Revision == last+1):
			case !want.deleted && keybearer.CodeOf(err) == keybearer.NotFound && want.seq == last:
			default:
				t.Errorf("round %d: %s: acknowledged %+v, found %+v, %v", round, name, want, got, err)
			}
			if err != nil || want.deleted || want.seq == last {
				delete(acknowledged, name) // settled; what came behind last is not known
			}
		}
		pending, err := s.Events(t.Context(), 1_000_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range pending {
			delete(events, e.Event.ID)
		}
		if len(events) > 0 {
			t.Errorf("round %d: audit events of acknowledged commits are missing: %v", round, events)
		}
		if err := s.Close(); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		intact(t, path)
		if t.Failed() {
			return
		}
	}
	if last < 5*uint64(rounds) {
		t.Errorf("%d commits in all: too few to mean anything", last)
	}
	t.Logf("%d commits, %d kills", last, rounds)
}

// TestFullDisk: when there is no room commits fail with an error that says so, reads go on, nothing acknowledged is lost, and
// commits succeed again once there is room.
func TestFullDisk(t *testing.T) {
	for _, end := range []string{"", "yes"} { // by exiting as if killed; by closing
		t.Setenv("SQLSTORE_TEST_CLOSE", end)
		_, path := home(t)
		closed(t, path)
		c := startChild(t, "fill", path)
		var acknowledged []string
		failures := 0
		for {
			line := c.line(t)
			if name, ok := strings.CutPrefix(line, "acknowledged "); ok {
				acknowledged = append(acknowledged, name)
				continue
			}
			if line == "done" {
				break
			}
			for _, part := range []string{"failed store_unavailable | keybearer.db ", "disk is full", "| free space"} {
				if !strings.Contains(line, part) {
					t.Fatalf("the child says %q", line)
				}
			}
			failures++
			t.Log(line)
		}
		if err := c.Wait(); err != nil {
			t.Errorf("the child: %v", err)
		}
		if failures != 5 || len(acknowledged) < 20 {
			t.Errorf("%d failures after %d commits: too few to mean anything", failures, len(acknowledged))
		}
		s := openAtOnce(t, path)
		for _, name := range acknowledged {
			if _, err := s.Scope(t.Context(), name); err != nil {
				t.Errorf("%s was acknowledged: %v", name, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		intact(t, path)
	}
}

// TestSecondProcess: a database belongs to one process; the next one is told which.
func TestSecondProcess(t *testing.T) {
	_, path := home(t)
	closed(t, path)
	c := startChild(t, "hold", path)
	pid, ok := strings.CutPrefix(c.line(t), "held ")
	if n, _ := strconv.Atoi(pid); !ok || n != c.Process.Pid {
		t.Fatalf("the child says %q", pid)
	}
	refused(t, path, "is in use by process "+pid, path, "stop that process")
	if err := c.in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	s := openAtOnce(t, path)
	refused(t, path, "is in use by process", path, "stop that process") // this process is no exception
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A killed process leaves no lock behind.
	c = startChild(t, "hold", path)
	c.line(t)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	closedAgain(t, path)
}
