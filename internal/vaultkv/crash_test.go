package vaultkv_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
	"github.com/keybearer/keybearer/internal/vaultkv"
	"github.com/keybearer/keybearer/test/harness"
)

// The test of crashes needs another process. It is this test binary again, with what it needs to open the store in its
// environment.
const childConfig = "VAULTKV_TEST_CHILD"

type childHome struct{ Address, RoleID, SecretIDFile, Path string }

func TestMain(m *testing.M) {
	if text := os.Getenv(childConfig); text != "" {
		var c childHome
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			die(err)
		}
		commitForever(c)
	}
	os.Exit(m.Run())
}

func die(v ...any) {
	fmt.Println(v...)
	os.Exit(1)
}

// commitForever creates, changes and deletes credentials, and prints each change once it is acknowledged.
func commitForever(c childHome) {
	ctx := context.Background() // a child has no test
	s, err := config{
		vaultclient.Config{Address: c.Address, Auth: &vaultclient.AppRole{RoleID: c.RoleID, SecretIDFile: c.SecretIDFile}},
		vaultkv.Config{Mount: mount, Path: c.Path, Node: "child"},
	}.open(ctx)
	if err != nil {
		die("open", err)
	}
	scope, err := s.Scope(ctx, "docs")
	if err != nil {
		die("scope", err)
	}
	for i := 0; ; i++ {
		c := newCredential(scope, fmt.Sprintf("c%d", rand.Uint64()), make([]byte, rand.IntN(6000)))
		commit := func(deleted bool) {
			seq, err := s.Commit(ctx, keybearer.Batch{
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

// Kill a process that commits, at any moment, again and again: what it had acknowledged is there, nothing else is half there, and what it
// left is swept.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 40
	if os.Getenv("KEYBEARER_SCALE") != "" {
		rounds = 500
	}
	h := newLab(t, harness.VaultOptions{}).home(t)
	s := h.open(t, "parent")
	must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: newScope("docs")}}}))(t)
	child := must(json.Marshal(childHome{h.URL, h.role.RoleID, h.role.SecretIDFile, h.path}))(t)
	exe := must(os.Executable())(t)

	type fact struct {
		seq, version uint64
		deleted      bool
	}
	acknowledged := make(map[string]fact)
	events := make(map[string]bool)
	last, between, leftovers := uint64(0), 0, 0
	for round := range rounds {
		c := exec.CommandContext(t.Context(), exe)
		c.Env = append(os.Environ(), childConfig+"="+string(child))
		c.Stderr = os.Stderr
		lines := bufio.NewScanner(must(c.StdoutPipe())(t))
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		count := 1 + rand.IntN(12) // acknowledgements to wait for
		for n := 1; lines.Scan(); n++ {
			var f fact
			var name string
			if _, err := fmt.Sscan(lines.Text(), &f.seq, &name, &f.version, &f.deleted); err != nil {
				t.Fatalf("round %d: the child says %q", round, lines.Text())
			}
			acknowledged[name], last = f, f.seq
			events[fmt.Sprint(name, f.version, f.deleted)] = true
			if n == count { // then, somewhere within the next commits
				time.AfterFunc(time.Duration(rand.IntN(4000))*time.Microsecond, func() { _ = c.Process.Kill() })
			}
		}
		_ = c.Wait() // killed

		look(t, s)
		seq := must(s.Sequence(t.Context()))(t)
		if seq < last || seq > last+1 {
			t.Errorf("round %d: the last commit is %d, %d was acknowledged", round, seq, last)
		}
		if seq > last {
			between++
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
		s.Adopt(0)
		pending := must(s.Events(t.Context(), 1_000_000))(t)
		var seqs []uint64
		for _, e := range pending {
			delete(events, e.Event.ID)
			seqs = append(seqs, e.Seq)
		}
		if len(events) > 0 {
			t.Errorf("round %d: audit events of acknowledged commits are missing: %v", round, events)
		}
		if err := s.Delivered(t.Context(), seqs...); err != nil {
			t.Error(err)
		}
		if round%5 == 4 {
			leftovers += must(s.Sweep(t.Context()))(t)
			h.complete(t)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d commits, %d kills; after %d of them a commit was there that had not been acknowledged, and %d secrets had to be swept", last, rounds, between, leftovers)
	if last < 5*uint64(rounds) || leftovers == 0 {
		t.Errorf("too few to mean anything")
	}
	again := h.open(t, "again")
	if seq := must(again.Sequence(t.Context()))(t); seq < last {
		t.Errorf("opened anew: commit %d, %d was acknowledged", seq, last)
	}
}

// complete checks, with root's eyes, that what is on the path is the index and what it names.
func (h *home) complete(t *testing.T) {
	t.Helper()
	text := h.Must(t, "GET", mount+"/data/"+h.path+"/index", nil).Data(t)["data"].(map[string]any)["text"].(string)
	var index struct{ Buckets map[string]string }
	if err := json.Unmarshal([]byte(text), &index); err != nil {
		t.Fatal(err)
	}
	want := []string{"index"}
	for _, name := range index.Buckets {
		want = append(want, name)
	}
	slices.Sort(want)
	if got := h.names(t); !slices.Equal(got, want) {
		t.Errorf("on the path are %v, the index names %v", got, want)
	}
}

// names lists the secrets on the path.
func (h *home) names(t *testing.T) (names []string) {
	t.Helper()
	for _, k := range h.Must(t, "LIST", mount+"/metadata/"+h.path+"/", nil).Data(t)["keys"].([]any) {
		names = append(names, k.(string))
	}
	slices.Sort(names)
	return names
}
