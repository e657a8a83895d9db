package sqlstore_test

import (
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// TestOldHours: hourly buckets go after 90 days; a clock that ran ahead takes none away.
func TestOldHours(t *testing.T) {
	s := open(t)
	now := time.Now().UTC().Truncate(time.Hour)
	record := func(at time.Time) {
		t.Helper()
		use := keybearer.UseRecord{CredentialID: "crd_a", Caller: "billing", Status: 200, At: at}
		if err := s.RecordUses(t.Context(), []keybearer.UseRecord{use}, keybearer.Checkpoint{}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want ...time.Time) {
		t.Helper()
		for _, id := range []string{"crd_a", ""} {
			got := must(s.UsageHours(t.Context(), time.Time{}, id))(t)[id]
			if len(got) != len(want) {
				t.Fatalf("%q: got %v, want %v", id, got, want)
			}
			for i, h := range got {
				if !h.Hour.Equal(want[i]) {
					t.Errorf("%q: got %v, want %v", id, h.Hour, want[i])
				}
			}
		}
	}
	day := 24 * time.Hour
	older, old, recent, future := now.Add(-95*day), now.Add(-90*day), now.Add(-50*day), now.Add(1000*day)
	record(older)
	record(old)
	record(recent)
	check(older, old, recent)
	record(future)
	check(old, recent, future)
	record(now.Add(time.Minute))
	check(old, recent, now, future)
	if got := must(s.Usage(t.Context(), "crd_a"))(t)["crd_a"].Count; got != 5 {
		t.Errorf("%d uses, want 5", got)
	}
}

// TestPurgedUsage: with a credential that is deleted for good goes what the ledger knows of it; the sums over all stay.
func TestPurgedUsage(t *testing.T) {
	s := open(t)
	scope := addScope(t, s, "docs")
	c := &keybearer.Credential{ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: "crm"}
	c.Revision = must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Credential: c}}}))(t)
	use := keybearer.UseRecord{CredentialID: c.ID, Caller: "billing", Status: 200, At: time.Now()}
	if err := s.RecordUses(t.Context(), []keybearer.UseRecord{use}, keybearer.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Credential: c, Delete: true}}}); err != nil {
		t.Fatal(err)
	}
	if got := must(s.Usage(t.Context(), c.ID))(t); len(got) != 0 {
		t.Errorf("usage: %v", got)
	}
	if got := must(s.UsageHours(t.Context(), time.Time{}, c.ID))(t); len(got) != 0 {
		t.Errorf("hours: %v", got)
	}
	if got := must(s.UsageHours(t.Context(), time.Time{}, ""))(t)[""]; len(got) != 1 || got[0].Uses != 1 {
		t.Errorf("hours of all: %v", got)
	}
}
