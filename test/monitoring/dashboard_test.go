package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

var dashboardFile = filepath.Join(harness.Repository(), "monitoring/grafana-dashboard.json")

// dashboard is what these tests know of Grafana's model of a dashboard.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Panels        []panel
	Templating    struct{ List []variable }
	Annotations   struct{ List []annotation }
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               datasource
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit       string
			Thresholds struct{ Steps []struct{ Value *float64 } }
		}
		Overrides []struct{ Matcher struct{ ID, Options string } }
	}
	Options struct {
		Legend struct{ ShowLegend bool }
	}
	Targets   []target
	Collapsed bool
	Panels    []panel
}

type datasource struct{ Type, UID string }

type target struct {
	RefID        string
	Datasource   datasource
	Expr         string
	LegendFormat string
	Format       string
	Instant      bool
	Range        bool
	Exemplar     bool
}

type variable struct {
	Name, Label, Type, Definition, AllValue string
	IncludeAll, Multi                       bool
	Query                                   json.RawMessage
	Datasource                              datasource
}

type annotation struct {
	Name, Expr string
	BuiltIn    int
	Datasource datasource
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

var chosen = datasource{"prometheus", "${datasource}"}

// Units of Grafana that the dashboard uses.
var units = map[string]bool{
	"reqps": true, "ops": true, "percentunit": true, "s": true, "bytes": true, "short": true, "none": true, "dateTimeFromNow": true,
}

func TestTheDashboardIsWellMade(t *testing.T) {
	d := readDashboard(t)
	if d.UID != "keybearer" || d.Title != "Keybearer" || d.SchemaVersion < 39 || d.SchemaVersion > 41 {
		t.Errorf("%q %q is of schema %d; Grafana 11 and 12 have 39 to 41", d.UID, d.Title, d.SchemaVersion)
	}
	ids, titles, taken := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
	for i, p := range d.Panels {
		switch g := p.GridPos; {
		case p.ID <= 0 || ids[p.ID]:
			t.Errorf("%q has the id %d", p.Title, p.ID)
		case p.Title == "" || titles[p.Title]:
			t.Errorf("panel %d has the title %q", p.ID, p.Title)
		case g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 24:
			t.Errorf("%q lies at %+v", p.Title, g)
		case p.Type == "row" && (g.W != 24 || g.H != 1 || g.X != 0 || p.Collapsed || len(p.Panels) > 0):
			t.Errorf("the row %q is not one that is open over the whole width: %+v", p.Title, g)
		case i > 0 && g.Y < d.Panels[i-1].GridPos.Y:
			t.Errorf("%q stands after what is below it", p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[at]; other != "" {
					t.Fatalf("%q lies over %q", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
		if p.Type != "row" {
			for _, fault := range faults(&p) {
				t.Errorf("%q %s", p.Title, fault)
			}
		}
	}
	for at := range taken { // no gap that a panel was meant for
		for x := range 24 {
			if taken[[2]int{x, at[1]}] == "" {
				t.Fatalf("nothing stands at %d, %d", x, at[1])
			}
		}
	}
}

// faults says what is wrong with a panel that shows something.
func faults(p *panel) (bad []string) {
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	defaults := &p.FieldConfig.Defaults
	if !strings.HasSuffix(p.Description, ".") || len(p.Description) < 20 {
		say("is described as %q", p.Description)
	}
	if !units[defaults.Unit] {
		say("has the unit %q", defaults.Unit)
	}
	if p.Datasource != chosen {
		say("asks %v", p.Datasource)
	}
	steps := defaults.Thresholds.Steps
	for i, s := range steps {
		if (i == 0) != (s.Value == nil) || i > 1 && *s.Value <= *steps[i-1].Value {
			say("has thresholds that do not rise")
		}
	}
	if len(steps) == 0 || p.Type == "stat" && len(steps) < 2 && p.Title != "Requests" {
		say("has no thresholds")
	}
	if len(p.Targets) == 0 {
		say("asks nothing")
	}
	legends := map[string]bool{}
	for i, q := range p.Targets {
		switch {
		case q.RefID != string(rune('A'+i)):
			say("names a query %q", q.RefID)
		case q.Datasource != chosen:
			say("asks %v", q.Datasource)
		case q.Instant == q.Range || q.Instant != (q.Format == "table") || q.Instant != (p.Type == "table"):
			say("asks for one moment or for a time, as a table or not, otherwise than it shows it")
		case !q.Instant && (q.LegendFormat == "" || legends[q.LegendFormat]):
			say("has the legend %q", q.LegendFormat)
		}
		legends[q.LegendFormat] = true
		for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(q.LegendFormat, -1) {
			if !strings.Contains(q.Expr, m[1]) {
				say("has the legend %q, of %s", q.LegendFormat, q.Expr)
			}
		}
	}
	if p.Type == "timeseries" && !p.Options.Legend.ShowLegend {
		say("shows no legend")
	}
	return bad
}

func TestTheDashboardAsksWhatIsChosen(t *testing.T) {
	d := readDashboard(t)
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
		if v.Type == "query" && (v.Datasource != chosen || !v.IncludeAll || !v.Multi || v.Label == "") {
			t.Errorf("%+v", v)
		}
	}
	if got := strings.Join(names, " "); got != "datasource instance scope" {
		t.Errorf("one may choose %s", got)
	}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			for _, selector := range selectors(q.Expr) {
				name, labels, _ := strings.Cut(selector, "{")
				scoped := name == "keybearer_requests_total" || strings.HasPrefix(name, "keybearer_credentials")
				switch {
				case name == "keybearer_build_info" || name == "process_max_fds": // joined to what was chosen
				case !strings.Contains(labels, `instance=~"$instance"`):
					t.Errorf("%q does not heed the server that was chosen: %s", p.Title, selector)
				case scoped != strings.Contains(labels, `scope=~"$scope"`):
					t.Errorf("%q heeds the scope that was chosen where there is none, or does not where there is one: %s", p.Title, selector)
				}
			}
			if n := len(regexp.MustCompile(`\[`).FindAllString(q.Expr, -1)); n != strings.Count(q.Expr, "[$__rate_interval]")+strings.Count(q.Expr, "[$__range]") {
				t.Errorf("%q looks at a time that does not fit what is shown: %s", p.Title, q.Expr)
			}
		}
	}
}

var metric = regexp.MustCompile(`\b(?:(?:keybearer|process|go)_\w+|(?:job|ALERTS)\w*:\w+:\w+|up|ALERTS)\b(?:\{[^}]*\})?`)

// selectors are the names of metrics in an expression, with the labels that are asked for.
func selectors(expr string) []string { return metric.FindAllString(expr, -1) }
