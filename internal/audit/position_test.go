package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keybearer/keybearer"
	"pgregory.net/rapid"
)

func TestPosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		file := rapid.StringMatching(`[0-9a-f]{32}`)
		mostly := []string{file.Draw(t, "file"), file.Draw(t, "other")}
		place := rapid.Custom(func(t *rapid.T) mark {
			return mark{rapid.SampledFrom(mostly).Draw(t, "of"), rapid.Int64Range(0, 1<<62).Draw(t, "offset")}
		})
		at := place.Draw(t, "at")
		open := rapid.SliceOfNDistinct(place, 0, 20, rapid.ID[mark]).Draw(t, "open")
		checkpoint := formatPosition(at, open) // sorts open
		gotAt, gotOpen := parsePosition(checkpoint)
		if gotAt != at {
			t.Fatalf("%v, want %v", gotAt, at)
		}
		if diff := cmp.Diff(append([]mark(nil), open...), gotOpen, cmp.AllowUnexported(mark{})); diff != "" {
			t.Fatalf("%q: %s", checkpoint.File, diff)
		}
	})
	got := formatPosition(mark{"a", 7}, []mark{{"b", 5}, {"a", 30}, {"a", 4}})
	if want := (keybearer.Checkpoint{File: "a a:4,30 b:5", Offset: 7}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, file := range []string{"", "a", "a ", "a b", "a b:", "a b:x", "a b:-1", "a :"} {
		if _, open := parsePosition(keybearer.Checkpoint{File: file}); len(open) > 0 && file != "a :" {
			t.Errorf("%q: %v", file, open)
		}
	}
}

func TestFindRotated(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	hour := func(n int) []byte {
		e := event(fmt.Sprint("r", n))
		e.Time = time.Date(2026, 1, 1, n, 0, 0, 0, time.UTC)
		return append(AppendEvent(nil, e), '\n')
	}
	long := event("long")
	long.Path = strings.Repeat("x", 10_000) // an id is made from less
	for name, content := range map[string][]byte{
		"audit.jsonl":               hour(9),
		"audit.jsonl.1":             append(hour(8), "half a line"...),
		"audit.jsonl.2":             hour(3),
		"audit.jsonl-20260102":      hour(5),
		"audit-2026-01-01T07.jsonl": hour(7),
		"audit-staging.jsonl":       hour(1), // another log
		"audit.jsonl.3.gz":          []byte("\x1f\x8b not a log"),
		"audit.jsonl.4":             {},
		"audit.jsonl.copy":          hour(3), // of .2
		"audit.jsonl.long":          append(AppendEvent(nil, long), '\n'),
		"other.jsonl.1":             hour(2),
		"audit.jsonl.halved":        []byte(`{"time":"2026`),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	current, err := examine(path)
	if err != nil {
		t.Fatal(err)
	}
	found, err := findRotated(path, current.id)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range found {
		got = append(got, strings.TrimPrefix(filepath.Base(r.path), "audit"))
	}
	if diff := cmp.Diff([]string{".jsonl.2", ".jsonl-20260102", "-2026-01-01T07.jsonl", ".jsonl.1", ".jsonl.long"}, got); diff != "" {
		t.Error(diff)
	}
	if want := int64(len(hour(8))); found[3].size != want {
		t.Errorf("size %d, want that of the whole lines, %d", found[3].size, want)
	}
}

// A checkpoint stays bounded however many uses are open; it leaves out the oldest.
func TestMarksAreBounded(t *testing.T) {
	f := &Feed{open: make(map[string]openUse), names: newNames()}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range maxMarked + 100 {
		f.consume(string(AppendEvent(nil, use(fmt.Sprint("r", i), keybearer.Intent, start.Add(time.Duration(i)*time.Second)))), mark{"a", int64(i)})
	}
	marks := f.marks()
	if len(marks) != maxMarked {
		t.Fatalf("%d marks, want %d", len(marks), maxMarked)
	}
	for _, m := range marks {
		if m.offset < 100 {
			t.Errorf("the mark of use %d is there, though newer ones are left out", m.offset)
		}
	}
}
