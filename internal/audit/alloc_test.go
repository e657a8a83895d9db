//go:build !race

package audit

import (
	"path/filepath"
	"testing"
)

// The race detector makes pools forget on purpose, so this is for ordinary builds.
func TestRecordDoesNotAllocate(t *testing.T) {
	l := openLog(t, filepath.Join(t.TempDir(), "audit.jsonl"), Options{Recent: 10})
	defer l.Close()
	e, ctx := event("r"), t.Context()
	warm := func() {
		if err := l.Record(ctx, e); err != nil {
			t.Fatal(err)
		}
		l.Post(e)
	}
	for range 100 {
		warm()
	}
	if n := testing.AllocsPerRun(1000, warm); n >= 1 {
		t.Errorf("%v allocations for a Record and a Post, want none", n)
	}
}
