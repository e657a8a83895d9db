//go:build unix

package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// killedChild uses a log and a real ledger until it is killed. It says "<id>" for each use that was let through.
func killedChild(dir string) error {
	ctx := context.Background()
	store, err := sqlstore.OpenSQLite(ctx, filepath.Join(dir, "keybearer.db"))
	if err != nil {
		return err
	}
	l, err := OpenFile(filepath.Join(dir, "audit.jsonl"), Options{})
	if err != nil {
		return err
	}
	f, err := Follow(ctx, l, store)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := keybearer.NewID(keybearer.IDRequest)
				e := use(id, keybearer.Intent, time.Now())
				e.CredentialID = fmt.Sprintf("crd_%d", rand.IntN(3))
				if err := l.Record(ctx, e); err != nil {
					panic(err)
				}
				fmt.Println(id)
				e.Phase, e.DestinationStatus = keybearer.Outcome, []int{200, 404, 503}[rand.IntN(3)]
				if i%5 == 0 {
					e = refusal(keybearer.NewID(keybearer.IDRequest), time.Now())
				}
				l.Post(e)
				if g == 0 && i%50 == 0 {
					if err := f.Flush(ctx); err != nil {
						panic(err)
					}
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// After kill -9 at any moment every use that was let through has its line, and the ledger, once brought up to date, equals a
// count of the files by other means.
func TestKill(t *testing.T) {
	const rounds = 12
	dir := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(dir, 0o700); err != nil { // the store insists
		t.Fatal(err)
	}
	path := filepath.Join(dir, "audit.jsonl")
	var files []string
	acknowledged := map[string]bool{}
	for round := range rounds {
		cmd := child(t, "killed", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 100 + rand.IntN(2000); n > 0 && lines.Scan(); n-- {
			if strings.HasPrefix(lines.Text(), "child:") {
				t.Fatal(lines.Text())
			}
			acknowledged[lines.Text()] = true
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // said before it died; the last line may be half
			if keybearer.IsID(lines.Text(), keybearer.IDRequest) {
				acknowledged[lines.Text()] = true
			}
		}
		_ = cmd.Wait()
		if round%3 == 2 {
			old := fmt.Sprintf("%s.%d", path, round)
			// The killed process may have left half a line, which only the next to open the log cuts off.
			if err := errors.Join(openLog(t, path, Options{}).Close(), os.Rename(path, old)); err != nil {
				t.Fatal(err)
			}
			files = append(files, old)
		}
	}
	store, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(dir, "keybearer.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	l := openLog(t, path, Options{})
	follow(t, l, store)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files = append(files, path)
	for _, file := range files {
		for _, e := range fileEvents(t, file) {
			delete(acknowledged, e.ID)
		}
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d uses were let through that have no line", len(acknowledged))
	}
	type count struct{ Uses, Refused, Failed uint64 }
	want, got := map[string]count{}, map[string]count{}
	uses := countedIn(t, files...)
	for _, u := range uses {
		c := want[u.CredentialID]
		switch {
		case u.Refused:
			c.Refused++
		default:
			c.Uses++
			if u.Code != "" || u.Status >= 500 {
				c.Failed++
			}
		}
		want[u.CredentialID] = c
	}
	for id := range want {
		hours, err := store.UsageHours(t.Context(), time.Now().Add(-24*time.Hour), id)
		if err != nil {
			t.Fatal(err)
		}
		var c count
		for _, h := range hours[id] {
			c.Uses += h.Uses
			c.Refused += h.Refused
			c.Failed += h.Failed
		}
		got[id] = c
		usage, err := store.Usage(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if u := usage[id]; u.Count != c.Uses || u.Refused != c.Refused {
			t.Errorf("%s: usage %d and %d, hours %d and %d", id, u.Count, u.Refused, c.Uses, c.Refused)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the ledger differs from the files (-want +got):\n%s", diff)
	}
	t.Logf("%d uses and refusals in %d files", len(uses), len(files))
}
