package keybearertest

import (
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

// testScopes: a use counts for its credential, its scope and everything; one without a scope for no scope.
func testScopes(t *testing.T, l keybearer.Ledger) {
	use := func(id, scope string, hour int) keybearer.UseRecord {
		return keybearer.UseRecord{CredentialID: id, Scope: scope, Caller: "billing", Status: 200, At: epoch.Add(time.Duration(hour) * time.Hour)}
	}
	a, b := keybearer.NewID(keybearer.IDCredential), keybearer.NewID(keybearer.IDCredential)
	record(t, l, use(a, "docs", 0), use(b, "docs", 0), use(b, "docs", 1), use("crd_old", "", 1))
	record(t, l, use(a, "global", 1), use(b, "docs", 1))
	hour := func(n int, uses uint64) keybearer.UsageHour {
		return keybearer.UsageHour{Hour: epoch.Add(time.Duration(n) * time.Hour), Uses: uses}
	}
	want := map[string][]keybearer.UsageHour{
		a: {hour(0, 1), hour(1, 1)}, b: {hour(0, 1), hour(1, 2)}, "docs": {hour(0, 2), hour(1, 2)}, "global": {hour(1, 1)}, "": {hour(0, 2), hour(1, 4)},
	}
	ask := []string{a, b, "docs", "global", "", "other", "crd_c", a}
	if diff := gocmp.Diff(want, must(l.UsageHours(t.Context(), epoch, ask...))(t)); diff != "" {
		t.Errorf("hours (-want +got):\n%s", diff)
	}
	for i := range 600 { // more than one would ask for in a single statement
		ask = append(ask, fmt.Sprintf("crd_%d", i))
	}
	if got := must(l.UsageHours(t.Context(), epoch, ask...))(t); len(got) != len(want) {
		t.Errorf("of many: %v", got)
	}
	if got := must(l.UsageHours(t.Context(), epoch))(t); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// testRefusalCounts: by code, most first, since a time; what is asked for twice counts once.
func testRefusalCounts(t *testing.T, l keybearer.Ledger) {
	const no, method, slow = keybearer.DestinationNotAllowed, keybearer.MethodNotAllowed, keybearer.DestinationTimeout
	refusal := func(id string, code keybearer.Code, hour int) keybearer.UseRecord {
		return keybearer.UseRecord{CredentialID: id, Scope: "docs", Caller: "billing", Code: code, Refused: true, At: epoch.Add(time.Duration(hour)*time.Hour + time.Minute)}
	}
	failed := refusal("crd_a", slow, 1)
	failed.Refused = false
	record(t, l, refusal("crd_a", no, 0), refusal("crd_a", no, 1), refusal("crd_a", method, 1), refusal("crd_b", method, 1), failed)
	record(t, l, refusal("crd_b", method, 1), refusal("crd_b", keybearer.AddressDenied, 2))
	var many []string
	for i := range 600 { // more than one would ask for in a single statement
		many = append(many, fmt.Sprintf("crd_%d", i))
	}
	for _, c := range []struct {
		since time.Time
		of    []string
		want  []keybearer.RefusalCount
	}{
		{epoch, []string{"crd_a"}, []keybearer.RefusalCount{{Code: no, Count: 2}, {Code: method, Count: 1}}},
		{epoch.Add(time.Hour + 30*time.Minute), []string{"crd_a"}, []keybearer.RefusalCount{{Code: no, Count: 1}, {Code: method, Count: 1}}},
		{epoch.Add(3 * time.Hour), []string{"crd_a", ""}, nil},
		{epoch, []string{""}, []keybearer.RefusalCount{{Code: method, Count: 3}, {Code: no, Count: 2}, {Code: keybearer.AddressDenied, Count: 1}}},
		{epoch, []string{"docs"}, []keybearer.RefusalCount{{Code: method, Count: 3}, {Code: no, Count: 2}, {Code: keybearer.AddressDenied, Count: 1}}},
		{epoch, append(append([]string{"crd_a"}, many...), "crd_a", "crd_b"), []keybearer.RefusalCount{{Code: method, Count: 3}, {Code: no, Count: 2}, {Code: keybearer.AddressDenied, Count: 1}}},
		{epoch, []string{"global"}, nil},
		{epoch, nil, nil},
	} {
		if diff := gocmp.Diff(c.want, must(l.Refusals(t.Context(), c.since, c.of...))(t)); diff != "" {
			t.Errorf("refusals of %.60q since %v (-want +got):\n%s", c.of, c.since, diff)
		}
	}
}

// testUsedSince: by the last use; refusals are none.
func testUsedSince(t *testing.T, l keybearer.Ledger) {
	use := func(id string, minute int, refused bool) keybearer.UseRecord {
		return keybearer.UseRecord{CredentialID: id, Caller: "billing", Refused: refused, At: epoch.Add(time.Duration(minute) * time.Minute)}
	}
	record(t, l, use("crd_c", 0, false), use("crd_a", 5, false), use("crd_b", 9, true), use("crd_d", 1, false), use("crd_d", 20, true))
	for minute, want := range map[int][]string{0: {"crd_a", "crd_c", "crd_d"}, 1: {"crd_a", "crd_d"}, 5: {"crd_a"}, 6: nil} {
		if diff := gocmp.Diff(want, must(l.UsedSince(t.Context(), epoch.Add(time.Duration(minute)*time.Minute)))(t)); diff != "" {
			t.Errorf("since minute %d (-want +got):\n%s", minute, diff)
		}
	}
}
