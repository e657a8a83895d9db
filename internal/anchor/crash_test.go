package anchor_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/keybearer/keybearer/internal/anchor"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/soak"
)

// The test binary, with this in its environment, commits to the lab in the directory until it is killed, and prints what it acknowledges.
const childDir = "ANCHOR_TEST_CHILD"

func commitForever(dir string) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	s, err := sqlstore.OpenSQLite(ctx, filepath.Join(dir, "home", "keybearer.db"))
	fail(err)
	a, err := anchor.Open(ctx, anchor.Config{Path: filepath.Join(dir, "elsewhere", "anchor"), Place: "here", Kind: "sqlite", Store: s})
	fail(err)
	for {
		fail(a.Ready())
		seq, err := s.Commit(ctx, newCaller())
		fail(err)
		fail(a.Advance(seq))
		fmt.Println(seq)
	}
}

// Killed at any moment, between commit and anchor too: what was acknowledged is anchored, and the store is not taken for an older one.
func TestSoakKilledBetweenCommitAndAnchor(t *testing.T) {
	kills := soak.Size(t, 25, 1000)
	l := newLab(t)
	exe := must(os.Executable())(t)
	unanchored := 0
	for range kills {
		c := exec.CommandContext(t.Context(), exe)
		c.Env = append(os.Environ(), childDir+"="+l.dir)
		out := must(c.StdoutPipe())(t)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("the child ended")
		}
		timer := time.AfterFunc(rand.N(20*time.Millisecond), func() { _ = c.Process.Kill() })
		last := lines.Text()
		for lines.Scan() {
			last = lines.Text()
		}
		timer.Stop()
		_ = c.Wait() // it was killed
		acknowledged, err := strconv.ParseUint(last, 10, 64)
		if err != nil {
			t.Fatalf("the child says %q", last)
		}
		kept := l.entry(t)
		if kept.Sequence < acknowledged || kept.Refused {
			t.Fatalf("change %d was acknowledged, and the anchor is %+v", acknowledged, kept)
		}
		s, _, done := l.open(t)
		seq := must(s.Sequence(t.Context()))(t)
		if seq < kept.Sequence {
			t.Fatalf("the anchor was at %d, and the store ends with %d", kept.Sequence, seq)
		}
		if seq > kept.Sequence {
			unanchored++
		}
		done()
	}
	soak.Record(t, "a server killed while it commits and anchors", soak.Count(kills)+" kills",
		fmt.Sprintf("%d of them between commit and anchor; nothing acknowledged is missing from the anchor", unanchored))
}
