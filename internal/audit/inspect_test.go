package audit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keybearer/keybearer"
)

// Looking through a log counts what is in it, and finds what is not ours, and what is missing.
func TestLookingThroughALog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	look := func(checkpoints ...keybearer.Checkpoint) Inspection {
		t.Helper()
		i, err := Inspect(path, checkpoints)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	if i := look(); i.Found {
		t.Errorf("none: %+v", i)
	}
	log, err := OpenFile(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := log.Record(t.Context(), &keybearer.Event{ID: keybearer.NewID("req_"), Kind: keybearer.ChangeEvent, Action: "scope.create"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := look()
	if !whole.Found || whole.Lines != 3 || whole.Bytes != int64(len(text)) || whole.Torn != 0 || whole.Broken != 0 {
		t.Errorf("%+v", whole)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := identify(f, whole.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if look(keybearer.Checkpoint{File: id, Offset: whole.Bytes}).Behind {
		t.Error("a place in the log is not found")
	}
	if !look(keybearer.Checkpoint{File: id, Offset: whole.Bytes + 1}).Behind || !look(keybearer.Checkpoint{File: "other", Offset: 1}).Behind {
		t.Error("a place that is not in the log is found")
	}
	if err := os.WriteFile(path, append(text, `{"id":`...), 0o600); err != nil {
		t.Fatal(err)
	}
	if i := look(); i.Torn != 6 || i.Broken != 0 || i.Lines != 3 {
		t.Errorf("torn: %+v", i)
	}
	if err := os.WriteFile(path, append(text, "hello\n{}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if i := look(); i.Broken == 0 || i.First != 4 {
		t.Errorf("with a foreign line: %+v", i)
	}
	// Rotated, it is found beside.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if look(keybearer.Checkpoint{File: id, Offset: whole.Bytes}).Behind {
		t.Error("a place in the rotated file is not found")
	}
}
