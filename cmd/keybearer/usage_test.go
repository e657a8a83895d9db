package main

import (
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func TestSpark(t *testing.T) {
	uses := func(h admin.UsageHour) uint64 { return h.Uses }
	hour := func(before int, n uint64) admin.UsageHour {
		return admin.UsageHour{Hour: noon.Add(-time.Duration(before) * time.Hour), Uses: n}
	}
	for _, c := range []struct {
		what  string
		hours []admin.UsageHour
		back  time.Duration
		want  string
	}{
		{"nothing", nil, 4 * time.Hour, "·····"},
		{"the lowest bar is something, the highest the most", []admin.UsageHour{hour(4, 1), hour(2, 1000), hour(0, 500)}, 4 * time.Hour, "▁·█·▅"},
		{"all the same", []admin.UsageHour{hour(1, 3), hour(0, 3)}, time.Hour, "██"},
		{"before the time that was asked for", []admin.UsageHour{hour(9, 3), hour(0, 3)}, time.Hour, "·█"},
		{"nothing to come", nil, -2 * time.Hour, ""},
		{"many hours share a bar", []admin.UsageHour{hour(168, 1), hour(167, 1), hour(0, 1)}, 168 * time.Hour, "█" + strings.Repeat("·", 55) + "▅"},
	} {
		if got := spark(c.hours, noon.Add(-c.back), noon, uses); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestPast(t *testing.T) {
	c, _, _ := testCLI(asTable)
	for text, want := range map[string]time.Time{
		"": {}, "24h": noon.Add(-24 * time.Hour), "7d": noon.AddDate(0, 0, -7), "0s": noon, "2026-11-23": noon.Add(-12 * time.Hour),
		"2026-11-23T12:00:00+02:00": noon.Add(-2 * time.Hour),
	} {
		if got, err := c.past(text); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"soon", "-1d", "2026-11-24", "2026-11-23T12:00:01Z", "1.5d", "never"} {
		if got, err := c.past(text); exitStatus(err) != keybearer.ExitUsage {
			t.Errorf("%q: %v, %v, want a usage error", text, got, err)
		}
	}
}

// What apps, destinations and operators chose becomes no formula in a spreadsheet, no cell too many and no line too many.
func TestCSVIsHarmless(t *testing.T) {
	var b strings.Builder
	events := []keybearer.Event{
		{Time: noon, ID: "req_a", Phase: keybearer.Outcome, Kind: keybearer.RefusalEvent, Path: `/a,"b"`, Port: 443, DurationMS: 1.5, Code: keybearer.DestinationNotAllowed},
		{Time: noon, ID: "req_b", Path: "=1+2", Host: "+49", Method: "-1", Rule: "@SUM(A1)", ActingUser: "\tx", Operator: "\rx", Scheme: "＝1", Changed: []string{"rules", "grants"}},
		{Time: noon, ID: "req_c", Path: "/two\nlines", Action: "a=b", Caller: "é", Changed: []string{"-x", "y"}},
	}
	if err := writeCSV(&b, events); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 4 || rows[0][0] != "time" || rows[0][len(rows[0])-1] != "changed" {
		t.Fatalf("%d rows, head %q", len(rows), rows[0])
	}
	got := make([]map[string]string, 3)
	for i, row := range rows[1:] {
		got[i] = map[string]string{}
		for j, cell := range row {
			if cell != "" && rows[0][j] != "time" {
				got[i][rows[0][j]] = cell
			}
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
				t.Errorf("%s begins a formula: %q", rows[0][j], cell)
			}
		}
	}
	want := []map[string]string{
		{"id": "req_a", "phase": "outcome", "event": "refusal", "path": `/a,"b"`, "port": "443", "duration_ms": "1.5", "code": "destination_not_allowed"},
		{"id": "req_b", "phase": "", "path": "'=1+2", "host": "'+49", "method": "'-1", "rule": "'@SUM(A1)", "acting_user": "'\tx", "operator": "'x", "scheme": "'＝1", "changed": "rules grants"},
		{"id": "req_c", "path": "/two\nlines", "action": "a=b", "caller": "é", "changed": "'-x y"},
	}
	delete(want[1], "phase")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
