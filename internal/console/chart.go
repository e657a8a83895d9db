package console

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// Charts are SVG made here, of numbers alone. Their tones are classes of the stylesheet: "use", "failed" and "refused".

// bucket is one bar: a stretch of time and what happened in it.
type bucket struct {
	from                  time.Time
	uses, failed, refused uint64
}

func (b *bucket) total() uint64 { return b.uses + b.refused }

// buckets sums hours into count stretches of the same length, the last of which holds now. A length is a whole number of hours.
func buckets(now time.Time, hours []keybearer.UsageHour, length time.Duration, count int) []bucket {
	first := now.UTC().Truncate(time.Hour).Add(time.Hour - time.Duration(count)*length)
	if length%(24*time.Hour) == 0 {
		first = now.UTC().Truncate(24 * time.Hour).Add(24*time.Hour - time.Duration(count)*length)
	}
	all := make([]bucket, count)
	for i := range all {
		all[i].from = first.Add(time.Duration(i) * length)
	}
	for _, h := range hours {
		if h.Hour.Before(first) {
			continue
		}
		if i := int(h.Hour.Sub(first) / length); i < count {
			all[i].uses, all[i].failed, all[i].refused = all[i].uses+h.Uses, all[i].failed+h.Failed, all[i].refused+h.Refused
		}
	}
	return all
}

func sum(all []bucket) (s bucket) {
	for _, b := range all {
		s.uses, s.failed, s.refused = s.uses+b.uses, s.failed+b.failed, s.refused+b.refused
	}
	return s
}

func most(all []bucket) (n uint64) {
	for _, b := range all {
		n = max(n, b.total())
	}
	return n
}

// words says what a stretch of time saw.
func (b *bucket) words() string {
	s := counted(b.uses, "use")
	if b.failed > 0 {
		s += ", " + number(b.failed) + " of them failed"
	}
	if b.refused > 0 {
		s += ", " + number(b.refused) + " refused"
	}
	return s
}

func counted(n uint64, what string) string {
	if n != 1 {
		what += "s"
	}
	return number(n) + " " + what
}

// number groups the digits of n by three.
func number(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// sparkline draws the last 24 hours, for a row of a table. Hours are those of one credential or of several, in any order.
func sparkline(now time.Time, hours []keybearer.UsageHour) template.HTML {
	const width, height, step = 96, 24, 4
	all := buckets(now, hours, time.Hour, width/step)
	total, top := sum(all), most(all)
	if top == 0 {
		return `<span class="muted">no use in 24 hours</span>`
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="spark" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="24 hours: %s">`, width, height, width, height, total.words())
	for i := range all {
		all[i].draw(&b, i*step, step-1, height, 0, top)
	}
	fmt.Fprintf(&b, `<path class="axis" d="M0 %d.5h%d"/></svg>`, height-1, width)
	return template.HTML(b.String())
}

// draw draws the bar that stands at x, between the heights bottom and top: uses, failed ones, and refusals upon them. Whatever happened is at
// least a pixel high.
func (b *bucket) draw(out *strings.Builder, x, width, bottom, top int, most uint64) {
	y := float64(bottom)
	scale := float64(bottom-top) / float64(most)
	for _, part := range []struct {
		n     uint64
		class string
	}{{b.uses - min(b.uses, b.failed), "use"}, {min(b.uses, b.failed), "failed"}, {b.refused, "refused"}} {
		if part.n == 0 {
			continue
		}
		h := max(1, float64(part.n)*scale)
		y -= h
		fmt.Fprintf(out, `<rect class="%s" x="%d" y="%.1f" width="%d" height="%.1f"/>`, part.class, x, max(y, float64(top)), width, h)
	}
}

// Chart is a bar chart of use over a time, with its axis and, for who cannot see it, its table.
type Chart struct {
	Title string
	Bars  []bucket
	Total bucket
	form  string // of a bar's time
}

// charts that pages offer, by the value of the parameter "span".
var spans = []struct {
	Value, Text string
	Since       time.Duration
}{
	{"24h", "24 hours", 24 * time.Hour},
	{"7d", "7 days", 7 * 24 * time.Hour},
	{"30d", "30 days", 30 * 24 * time.Hour},
}

// spanOf returns how far back a page looks that was asked for with the value: 24 hours unless it is another of the spans.
func spanOf(value string) (string, time.Duration) {
	for _, s := range spans {
		if s.Value == value {
			return s.Value, s.Since
		}
	}
	return spans[0].Value, spans[0].Since
}

// chartBegin is when the first bar of a chart over the span begins: what a page counts beside its chart, it counts from there.
func chartBegin(now time.Time, span time.Duration) time.Time {
	return newChart(now, "", nil, span).Bars[0].from
}

// newChart draws hours over a span: by the hour for a day, by six hours for a week, by the day for longer.
func newChart(now time.Time, title string, hours []keybearer.UsageHour, span time.Duration) *Chart {
	c := &Chart{Title: title, form: "15:04"}
	length := time.Hour
	switch {
	case span > 8*24*time.Hour:
		length, c.form = 24*time.Hour, "2 Jan"
	case span > 24*time.Hour:
		length, c.form = 6*time.Hour, "Mon 15:04"
	}
	c.Bars = buckets(now, hours, length, int(span/length))
	c.Total = sum(c.Bars)
	return c
}

// Words sums the chart up.
func (c *Chart) Words() string { return c.Total.words() }

// Empty reports whether nothing happened.
func (c *Chart) Empty() bool { return c.Total.total() == 0 }

// Rows are the bars in which something happened, as texts.
func (c *Chart) Rows() (rows [][4]string) {
	for _, b := range c.Bars {
		if b.total() > 0 {
			rows = append(rows, [4]string{b.from.Format("2 Jan 15:04"), number(b.uses), number(b.failed), number(b.refused)})
		}
	}
	return rows
}

// SVG draws it.
func (c *Chart) SVG() template.HTML {
	const width, height, left, bottom, top = 720, 180, 44, 156, 10
	most := nice(most(c.Bars))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %d %d" role="img" aria-label="%s: %s">`, width, height, template.HTMLEscapeString(c.Title), c.Total.words())
	lines := []uint64{0, most / 2, most}
	if most == 1 {
		lines = []uint64{0, 1}
	}
	for _, n := range lines {
		y := float64(bottom) - float64(n)*float64(bottom-top)/float64(most)
		fmt.Fprintf(&b, `<path class="axis" d="M%d %.1fH%d"/><text class="label" x="%d" y="%.1f" text-anchor="end">%s</text>`, left, y, width, left-6, y+4, short(n))
	}
	step := float64(width-left) / float64(len(c.Bars))
	every := (len(c.Bars) + 5) / 6
	for i := range c.Bars {
		x := float64(left) + float64(i)*step
		if i%every == 0 {
			fmt.Fprintf(&b, `<text class="label" x="%.1f" y="%d">%s</text>`, x, height-6, c.Bars[i].from.Format(c.form))
		}
		if c.Bars[i].total() > 0 {
			fmt.Fprintf(&b, `<g><title>%s: %s</title>`, c.Bars[i].from.Format("2 Jan 15:04"), c.Bars[i].words())
			c.Bars[i].draw(&b, int(x)+1, max(2, int(step)-2), bottom, top, most)
			b.WriteString(`</g>`)
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// nice is a round number not below n, and even but for 1.
func nice(n uint64) uint64 {
	if n <= 1 {
		return 1
	}
	for p := uint64(1); ; p *= 10 {
		for _, m := range []uint64{2, 4, 6, 8, 10} {
			if m*p >= n {
				return m * p
			}
		}
	}
}

// short writes large numbers with k, M or G.
func short(n uint64) string {
	for _, u := range []struct {
		n    uint64
		unit string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if n >= u.n {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(u.n)), ".0") + u.unit
		}
	}
	return fmt.Sprint(n)
}
