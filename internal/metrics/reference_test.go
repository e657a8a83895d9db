package metrics

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md")

// description is a metric as its collector describes it.
type description struct {
	name, kind, help string
	labels           []string
}

var described = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "([^"]+)", .*variableLabels: \{([^}]*)\}\}$`)

func descriptions(m *Meter) (all []description) {
	for _, c := range m.collectors() {
		out := make(chan *prometheus.Desc, 20)
		c.Describe(out)
		close(out)
		for d := range out {
			match := described.FindStringSubmatch(d.String())
			if match == nil {
				panic("not understood: " + d.String())
			}
			one := description{name: match[1], help: match[2], kind: "gauge"}
			switch {
			case strings.HasSuffix(one.name, "_duration_seconds"):
				one.kind = "histogram"
			case strings.HasSuffix(one.name, "_total"):
				one.kind = "counter"
			}
			if match[3] != "" {
				one.labels = strings.Split(match[3], ",")
			}
			all = append(all, one)
		}
	}
	return all
}

// The table of docs/metrics.md is written by: go test ./internal/metrics -run TestTheReferenceIsCurrent -update
func TestTheReferenceIsCurrent(t *testing.T) {
	const page, begin, end = "../../docs/metrics.md", "## All metrics\n\n", "\n\n## "
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no section %q with one behind it", page, begin)
	}
	var b strings.Builder
	b.WriteString("| metric | labels | type | what it says |\n|---|---|---|---|\n")
	for _, d := range descriptions(New("")) {
		labels := "–"
		if len(d.labels) > 0 {
			labels = "`" + strings.Join(d.labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, labels, d.kind, d.help)
	}
	now := strings.TrimSuffix(b.String(), "\n")
	if now == old {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the code says; run: go test ./internal/metrics -run TestTheReferenceIsCurrent -update", page)
	}
	if err := os.WriteFile(page, []byte(before+begin+now+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
