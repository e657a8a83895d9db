// Package vectors reads the test vectors of Project Wycheproof (github.com/C2SP/wycheproof), in the version that test/wycheproof pins: inputs for
// cryptography that are known to be taken or refused wrongly somewhere.
package vectors

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Group is a number of tests with something in common, such as a key: Fields are what the schema of the file says.
type Group struct {
	Fields map[string]json.RawMessage
	Tests  []Test
}

// Test is one input and what must become of it.
type Test struct {
	ID     int
	Note   string
	Flags  []string
	Result string // valid, invalid or acceptable
	Fields map[string]json.RawMessage
}

var folder = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "test", "wycheproof", "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("test/wycheproof was not found")
		}
	}
	c := exec.Command("go", "mod", "download", "-json", "github.com/c2sp/wycheproof")
	c.Dir = filepath.Join(dir, "test", "wycheproof")
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("go mod download: %w: %s", err, out)
	}
	var module struct{ Dir string }
	err = json.Unmarshal(out, &module)
	return filepath.Join(module.Dir, "testvectors_v1"), err
})

// Read returns the groups of a file, such as "aes_gcm".
func Read(t testing.TB, name string) []Group {
	t.Helper()
	dir, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, name+"_test.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int
		TestGroups    []map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var groups []Group
	found := 0
	for _, g := range file.TestGroups {
		var tests []map[string]json.RawMessage
		if err := json.Unmarshal(g["tests"], &tests); err != nil {
			t.Fatal(err)
		}
		delete(g, "tests")
		group := Group{Fields: g}
		for _, fields := range tests {
			x := Test{Fields: fields}
			for field, into := range map[string]any{"tcId": &x.ID, "comment": &x.Note, "flags": &x.Flags, "result": &x.Result} {
				if err := json.Unmarshal(fields[field], into); err != nil {
					t.Fatalf("%s: %s: %v", name, field, err)
				}
			}
			group.Tests = append(group.Tests, x)
			found++
		}
		groups = append(groups, group)
	}
	if found != file.NumberOfTests || found == 0 {
		t.Fatalf("%s: %d tests of %d", name, found, file.NumberOfTests)
	}
	return groups
}

// Bytes returns a field that holds hexadecimal digits.
func Bytes(t testing.TB, fields map[string]json.RawMessage, name string) []byte {
	t.Helper()
	var text string
	if err := json.Unmarshal(fields[name], &text); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

// Number returns a field that holds a number.
func Number(t testing.TB, fields map[string]json.RawMessage, name string) (n int) {
	t.Helper()
	if err := json.Unmarshal(fields[name], &n); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// Tally counts what became of the tests of a file.
type Tally struct {
	t                 testing.TB
	name              string
	taken, refused    int
	either            map[string]int // acceptable ones that were taken, by flag
	explained, wrongs int
}

// NewTally returns a tally for a file, which is told of and judged when the test ends.
func NewTally(t testing.TB, name string) *Tally {
	y := &Tally{t: t, name: name, either: map[string]int{}}
	t.Cleanup(func() {
		var flags []string
		for _, f := range slices.Sorted(maps.Keys(y.either)) {
			flags = append(flags, fmt.Sprintf("%s %d", f, y.either[f]))
		}
		t.Logf("%s: %d taken, %d refused, %d explained, %d wrong; acceptable and taken: %s", name, y.taken, y.refused, y.explained, y.wrongs, strings.Join(flags, ", "))
		if y.taken+y.refused == 0 {
			t.Errorf("%s: nothing was tried", name)
		}
	})
	return y
}

// Judge notes whether a test's input was taken. A wrong one fails the test, unless there is an explanation.
func (y *Tally) Judge(x Test, taken bool, explanation string) {
	y.t.Helper()
	if taken {
		y.taken++
	} else {
		y.refused++
	}
	switch {
	case x.Result == "acceptable":
		if taken {
			for _, f := range x.Flags {
				y.either[f]++
			}
		}
	case x.Result != "valid" && x.Result != "invalid":
		y.t.Errorf("%s %d: result %q", y.name, x.ID, x.Result)
	case taken == (x.Result == "valid"):
		if explanation != "" {
			y.t.Errorf("%s %d needs no explanation", y.name, x.ID)
		}
	case explanation != "":
		y.explained++
	default:
		y.wrongs++
		y.t.Errorf("%s %d (%s, %q) is %s, and was taken: %v", y.name, x.ID, x.Note, x.Flags, x.Result, taken)
	}
}
