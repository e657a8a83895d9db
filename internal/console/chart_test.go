package console

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

func TestHoursGoIntoTheBucketsOfTheirTime(t *testing.T) {
	now := time.Date(2026, 5, 2, 13, 20, 0, 0, time.UTC)
	at := func(hoursAgo int) time.Time { return now.Truncate(time.Hour).Add(-time.Duration(hoursAgo) * time.Hour) }
	hours := []keybearer.UsageHour{
		{Hour: at(0), Uses: 1},
		{Hour: at(23), Uses: 2, Failed: 1},
		{Hour: at(24), Uses: 100}, // before the first bar
		{Hour: at(5), Refused: 7},
	}
	all := buckets(now, hours, time.Hour, 24)
	if len(all) != 24 || all[23].uses != 1 || all[0].uses != 2 || all[0].failed != 1 || all[18].refused != 7 || !all[23].from.Equal(at(0)) {
		t.Errorf("%+v", all)
	}
	if s := sum(all); s.uses != 3 || s.refused != 7 || s.failed != 1 || most(all) != 7 {
		t.Errorf("sum %+v, most %d", s, most(all))
	}
	days := buckets(now, hours, 24*time.Hour, 30)
	if len(days) != 30 || days[29].uses != 1 || days[28].uses != 102 || !days[29].from.Equal(now.Truncate(24*time.Hour)) {
		t.Errorf("by the day: %+v", days[28:])
	}
}

func TestAChartSaysInWordsWhatItDraws(t *testing.T) {
	now := time.Date(2026, 5, 2, 13, 20, 0, 0, time.UTC)
	c := newChart(now, `Use of "<b>"`, []keybearer.UsageHour{{Hour: now.Truncate(time.Hour), Uses: 1234, Failed: 4, Refused: 1}}, 24*time.Hour)
	if want := "1,234 uses, 4 of them failed, 1 refused"; c.Words() != want {
		t.Errorf("%q, want %q", c.Words(), want)
	}
	svg := string(c.SVG())
	for _, want := range []string{`class="use"`, `class="failed"`, `class="refused"`, "<title>2 May 13:00: 1,234 uses", "&lt;b&gt;", ">2k<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in %s", want, svg)
		}
	}
	if strings.Contains(svg, "style=") || strings.Contains(svg, `"<b>"`) {
		t.Errorf("inline style or raw text in %s", svg)
	}
	if diff := cmp.Diff([][4]string{{"2 May 13:00", "1,234", "4", "1"}}, c.Rows()); diff != "" {
		t.Error(diff)
	}
	if empty := newChart(now, "Use", nil, 24*time.Hour); !empty.Empty() || !strings.Contains(string(sparkline(now, nil)), "no use") {
		t.Error("an empty chart is not empty")
	}
}

// A bar is never higher than its place, and whatever happened can be seen.
func TestBarsStayInTheirPlace(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 9, 10, 11, 99, 101, 1e6, 1e12} {
		if top := nice(n); top < n || top > 4*n {
			t.Errorf("nice(%d) is %d", n, top)
		}
	}
	now := time.Now()
	h := now.UTC().Truncate(time.Hour)
	svg := string(sparkline(now, []keybearer.UsageHour{{Hour: h, Uses: 1e9, Refused: 1}, {Hour: h.Add(-time.Hour), Uses: 1}}))
	if strings.Count(svg, "<rect") != 3 || strings.Contains(svg, `height="0`) || strings.Contains(svg, `y="-`) {
		t.Error(svg)
	}
}

func TestTimesAreTold(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30 * time.Second: "just now", -30 * time.Second: "in a moment", time.Minute: "1 minute ago", 90 * time.Minute: "1 hour ago", -2 * time.Hour: "in 2 hours",
		49 * time.Hour: "2 days ago", 70 * 24 * time.Hour: "2 months ago", 800 * 24 * time.Hour: "2 years ago",
	} {
		if got := relative(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if ago(time.Now(), time.Time{}) != "never" {
		t.Error("no time is some time")
	}
}
