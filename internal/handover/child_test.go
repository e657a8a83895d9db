package handover_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/handover"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// The process that is killed is this test binary again, with the two stores in its environment.
const (
	childFormer  = "HANDOVER_TEST_FORMER"  // path
	childCurrent = "HANDOVER_TEST_CURRENT" // path, or DSN
	childRound   = "HANDOVER_TEST_ROUND"   // makes the residents of one round others than those of the next
)

// childResidents edit in the process, each one thing at a time.
const childResidents = 3

// TestMain keeps the files in memory where it can: what a power cut does to them is the store's own test.
func TestMain(m *testing.M) {
	if path := os.Getenv(childFormer); path != "" {
		editAndMove(path, os.Getenv(childCurrent), os.Getenv(childRound))
		return
	}
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		_ = os.Setenv("TMPDIR", "/dev/shm")
	}
	os.Exit(m.Run())
}

// openAny opens a store by its path or DSN.
func openAny(ctx context.Context, where string) (keybearer.Store, error) {
	if strings.HasPrefix(where, "postgres:") {
		return sqlstore.OpenPostgres(ctx, sqlstore.PostgresConfig{DSN: keybearer.NewSecret(where), Node: "a", Wait: 20 * time.Second})
	}
	return sqlstore.OpenSQLite(ctx, where)
}

// editAndMove edits until it is killed, says what was acknowledged, and moves the records meanwhile.
func editAndMove(formerPath, current, round string) {
	ctx := context.Background()
	die := func(err error) {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	old, err := sqlstore.OpenSQLite(ctx, formerPath)
	if err != nil {
		die(err)
	}
	now, err := openAny(ctx, current)
	if err != nil {
		die(err)
	}
	s, err := handover.OpenStore(ctx, handover.Config{Current: now, Former: old})
	if err != nil {
		die(err)
	}
	o := newTown(s)
	o.ack = func(id, text string) { fmt.Println("ack", id, text) }
	var n int
	_, _ = fmt.Sscan(round, &n)
	fmt.Println("begun")
	for i := range childResidents {
		go func() {
			r, err := o.resident(ctx, n*10+i)
			for err == nil {
				err = r.edit(ctx)
			}
			die(err)
		}()
	}
	go func() {
		<-s.Move()
		if phase, _, _, err := s.Progress(); phase != handover.Done {
			die(err)
		}
		fmt.Println("moved")
	}()
	select {}
}

// A process is killed again and again while it edits and moves the records. Whenever that is, exactly one of the two stores is in use, and what
// was acknowledged is in it.
func TestAProcessKilledWhileItMovesLosesNothing(t *testing.T) {
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			place, kills := func() string { return filepath.Join(t.TempDir(), "new", "keybearer.db") }, 24
			longest := 40 * time.Millisecond
			if kind == "postgres" {
				server := harness.StartPostgres(t, "fsync=off")
				place, kills = func() string { return server.Database(t) }, 8
				longest = 600 * time.Millisecond
			}
			random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
			old, current := filepath.Join(t.TempDir(), "old", "keybearer.db"), place()
			acked := map[string]ack{}
			moves := 0
			for round := range kills {
				killed(t, old, current, round, time.Duration(random.Int64N(int64(longest))), acked)
				if moved := judged(t, old, current, acked); moved {
					moves++
					old, current, acked = filepath.Join(t.TempDir(), "old", "keybearer.db"), place(), map[string]ack{}
				}
			}
			t.Logf("%d kills, %d of them when all had moved", kills, moves)
		})
	}
}

// ack is what was acknowledged last of a record.
type ack struct {
	revision uint64
	deleted  bool
}

// killed runs the process, kills it so long after it has begun to move, and notes what it said until then.
func killed(t *testing.T, old, current string, round int, after time.Duration, acked map[string]ack) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childFormer+"="+old, childCurrent+"="+current, fmt.Sprintf("%s=%d", childRound, round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "begun":
			once.Do(func() { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) })
		case "failed":
			t.Errorf("round %d: %s", round, lines.Text())
		case "ack":
			var a ack
			if n, err := fmt.Sscan(strings.Join(words[2:], " "), &a.revision, &a.deleted); n != 2 {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			if a.revision > acked[words[1]].revision || a.deleted {
				acked[words[1]] = a
			}
		}
	}
	_ = cmd.Wait()
}

// judged opens both stores, and checks that one is in use and holds what was acknowledged. It reports whether that is the current one.
func judged(t *testing.T, old, current string, acked map[string]ack) (moved bool) {
	t.Helper()
	ctx := t.Context()
	was, err := sqlstore.OpenSQLite(ctx, old)
	if err != nil {
		t.Fatal(err)
	}
	defer was.Close()
	now, err := openAny(ctx, current)
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	left := was.Alone(ctx) != nil
	s, err := handover.OpenStore(ctx, handover.Config{Current: now, Former: was})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	phase, _, _, _ := s.Progress()
	if moved = phase == handover.Done; moved != left {
		t.Errorf("the former store is left: %v, the current one is in use: %v", left, moved)
	}
	if alone := sqlstore.Of(now).Alone(ctx); moved && alone != nil {
		t.Error("the current store cannot be used alone:", alone)
	} else if mark, _ := sqlstore.Of(now).Mark(ctx); !moved && mark.State != "" && alone == nil {
		t.Error("half a store could be used alone")
	}
	found := map[string]uint64{}
	for id, text := range contents(t, s) {
		if _, err := fmt.Sscan(text, new(uint64)); err != nil {
			t.Fatal(err)
		}
		var revision uint64
		_, _ = fmt.Sscan(text, &revision)
		found[id] = revision
	}
	gone := 0
	for id, a := range acked {
		switch revision, there := found[id]; {
		case a.deleted && there:
			t.Errorf("%s was deleted at %d and is there", id, a.revision)
		case !a.deleted && !there: // its deletion may have been under way when the process was killed
			gone++
			delete(acked, id)
		case !a.deleted && revision < a.revision:
			t.Errorf("%s is of revision %d, acknowledged was %d", id, revision, a.revision)
		}
	}
	if gone > childResidents {
		t.Errorf("%d records are gone; %d could have been deleted without a word", gone, childResidents)
	}
	return moved
}
