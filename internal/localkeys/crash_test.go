package localkeys

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

// The child of TestKill is the test binary again, with this variable set to the keyring's path.
const childVariable = "KEYBEARER_LOCALKEYS_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		if err := change(path); err != nil {
			fmt.Println("failed", err)
		}
		os.Exit(1) // it is meant to be killed
	}
	os.Exit(m.Run())
}

// change creates, rotates and destroys keys until it is killed. It says what it begins and what was acknowledged.
func change(path string) error {
	ctx := context.Background()
	k, err := Open(Config{Path: path})
	if err != nil {
		return err
	}
	var names []string
	for {
		if len(names) < 2 || rand.IntN(3) == 0 {
			names = append(names, keybearer.NewID("k"))
			name := names[len(names)-1]
			fmt.Println("begin create", name)
			if err := k.CreateKey(ctx, name); err != nil {
				return err
			}
			sealed, err := k.Seal(ctx, name, keybearer.SealContext{}, []byte(name))
			if err != nil {
				return err
			}
			fmt.Println("created", name, string(sealed))
			continue
		}
		i := rand.IntN(len(names))
		name := names[i]
		if rand.IntN(2) == 0 {
			fmt.Println("begin rotate", name)
			if _, err := k.RotateKey(ctx, name); err != nil {
				return err
			}
			sealed, err := k.Seal(ctx, name, keybearer.SealContext{}, []byte(name))
			if err != nil {
				return err
			}
			fmt.Println("rotated", name, string(sealed))
			continue
		}
		names = append(names[:i], names[i+1:]...)
		fmt.Println("begin destroy", name)
		if err := k.DestroyKey(ctx, name); err != nil {
			return err
		}
		fmt.Println("destroyed", name)
	}
}

// After kill -9 at any moment the files are read, every acknowledged operation holds, and the one that was under way has been
// done or not.
func TestKill(t *testing.T) {
	const rounds = 40
	path := filepath.Join(t.TempDir(), "keyring.key")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	type known struct {
		sealed    []string // by version
		destroyed bool
	}
	keys := map[string]*known{}
	operations := 0
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		under := []string{"", "", ""} // what it had begun
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		left := rand.IntN(60)
		if round < 10 {
			left = rand.IntN(3) // in the first use above all
		}
		for killed := false; ; left-- {
			if left <= 0 && !killed {
				killed = true
				for range rand.IntN(20_000) { // anywhere within an operation
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if !lines.Scan() {
				break
			}
			switch f := strings.Fields(lines.Text()); {
			case f[0] == "failed":
				t.Fatalf("round %d: %s", round, lines.Text())
			case f[0] == "begin" && len(f) == 3:
				under = f
			case f[0] == "created" && len(f) == 3:
				keys[f[1]] = &known{sealed: f[2:]}
				operations++
			case f[0] == "rotated" && len(f) == 3:
				keys[f[1]].sealed = append(keys[f[1]].sealed, f[2])
				operations++
			case f[0] == "destroyed":
				keys[f[1]].destroyed = true
				operations++
			}
		}
		_ = cmd.Wait()
		k, err := Open(Config{Path: path})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		ctx := t.Context()
		for name, want := range keys {
			pending := under[2] == name
			version, err := k.KeyVersion(ctx, name)
			if pending && under[1] == "destroy" && !want.destroyed && keybearer.CodeOf(err) == keybearer.NotFound {
				want.destroyed = true // done, though not acknowledged
			}
			switch {
			case want.destroyed:
				if keybearer.CodeOf(err) != keybearer.NotFound {
					t.Fatalf("round %d: destroyed key %s is back: version %d, %v", round, name, version, err)
				}
				if err := k.CreateKey(ctx, name); keybearer.CodeOf(err) != keybearer.AlreadyExists {
					t.Fatalf("round %d: destroyed name %s is forgotten: %v", round, name, err)
				}
			case err != nil:
				t.Fatalf("round %d: key %s is lost: %v", round, name, err)
			case int(version) != len(want.sealed) && !(pending && under[1] == "rotate" && int(version) == len(want.sealed)+1):
				t.Fatalf("round %d: key %s has version %d, want %d", round, name, version, len(want.sealed))
			default:
				for len(want.sealed) < int(version) {
					want.sealed = append(want.sealed, "")
				}
			}
			for _, sealed := range want.sealed {
				got, err := k.Open(ctx, name, keybearer.SealContext{}, []byte(sealed))
				if sealed != "" && !want.destroyed && (err != nil || string(got) != name) {
					t.Fatalf("round %d: a secret of key %s does not open: %v", round, name, err)
				}
				if want.destroyed && err == nil {
					t.Fatalf("round %d: a secret of the destroyed key %s opens", round, name)
				}
			}
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if operations < rounds {
		t.Errorf("only %d operations were acknowledged", operations)
	}
	t.Logf("%d operations on %d keys in %d rounds", operations, len(keys), rounds)
}
