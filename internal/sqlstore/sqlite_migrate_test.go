package sqlstore_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/keybearer/keybearer"
)

// A file of the first version keeps its place in the audit log, and the events that the log may not have.
func TestAFileOfTheFirstVersion(t *testing.T) {
	for name, want := range map[string]keybearer.Checkpoint{"used": {File: "f", Offset: 9}, "fresh": {}} {
		t.Run(name, func(t *testing.T) {
			_, path := home(t)
			first, err := os.ReadFile("schema/sqlite/0001_first.sql")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			sqlite(t, path, "PRAGMA application_id = 1264941410") // "Keyb"
			sqlite(t, path, string(first))
			sqlite(t, path, fmt.Sprintf("UPDATE instance SET event = 1, seq = 1, checkpoint_file = '%s', checkpoint_offset = %d", want.File, want.Offset))
			sqlite(t, path, `INSERT INTO events VALUES (1, '{"id":"req_1"}')`)
			sqlite(t, path, "PRAGMA user_version = 1")
			s := openAt(t, path)
			if got := must(s.Checkpoint(t.Context()))(t); got != want {
				t.Errorf("checkpoint: got %+v, want %+v", got, want)
			}
			if got := must(s.Events(t.Context(), 10))(t); len(got) != 1 {
				t.Errorf("events: %+v", got)
			}
			next := keybearer.Checkpoint{File: "g", Offset: 10}
			if err := s.RecordUses(t.Context(), nil, next); err != nil {
				t.Fatal(err)
			}
			if got := must(s.Checkpoint(t.Context()))(t); got != next {
				t.Errorf("checkpoint: got %+v, want %+v", got, next)
			}
		})
	}
}
