package console

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

// ruleRows are the fields for destination rules, one row for each, as the part "rule-rows" shows them. Their names end with the number of the row:
// "rule-0", "methods-0" (several), "private-0" ("on"). Rows that are empty count for nothing.
type ruleRows struct {
	Rows []ruleRow
	Post string // where the buttons send the form: its handler calls redraw, and shows the form again
	Part bool   // they are for htmx: a new row gets the focus only from who has not gone on, so that nobody types a secret into it
}

type ruleRow struct {
	N                      int
	Rule, Methods, Private Field
	Preview                *rulePreview // nil while nothing is written
}

// rulePreview says what a rule will mean.
type rulePreview struct {
	Canonical       string
	Changed         bool // what was written is something else
	Clear           bool // sent in clear
	Wildcard        bool
	Private         bool
	Near            bool // plainly on a private network, and not marked so
	Error, Hint     string
	Matches, Misses []policy.Example
}

// maxRows bounds how many rows a form may have: as many as a credential may have rules.
const maxRows = 200

// rowFields are the other fields of a row, by the name of its first.
var rowFields = map[string][]string{"rule": {"methods", "private"}, "grant": {"subject", "level"}}

// rowNumbers are the numbers of the rows that the form has, by the name of their first field; at least one.
func (f *form) rowNumbers(name string) []int {
	var all []int
	for field := range f.Values {
		if rest, ok := strings.CutPrefix(field, name+"-"); ok {
			if n, err := strconv.Atoi(rest); err == nil && n >= 0 && n < 10*maxRows && strconv.Itoa(n) == rest {
				all = append(all, n)
			}
		}
	}
	slices.Sort(all)
	if len(all) == 0 {
		return []int{0}
	}
	return all[:min(len(all), maxRows)]
}

// redraw does what a button of a form with rows asks for, by the value of "do": "add-rule" and "remove-rule-3" for rows whose first field is called
// "rule". It returns the name of the field that gets the focus.
func (f *form) redraw(do string) (focus string) {
	if name, ok := strings.CutPrefix(do, "add-"); ok {
		numbers := f.rowNumbers(name)
		focus = fmt.Sprintf("%s-%d", name, numbers[len(numbers)-1]+1)
		f.Values.Set(focus, "")
	}
	if row, ok := strings.CutPrefix(do, "remove-"); ok {
		name, n, _ := strings.Cut(row, "-")
		for _, field := range append([]string{name}, rowFields[name]...) {
			f.Values.Del(field + "-" + n)
		}
		focus = fmt.Sprintf("%s-%d", name, f.rowNumbers(name)[0])
	}
	return focus
}

// ruleRows are the rows of the form, for the part "rule-rows".
func (f *form) ruleRows(post, focus string) ruleRows {
	rows := ruleRows{Post: post}
	for _, n := range f.rowNumbers("rule") {
		rows.Rows = append(rows.Rows, f.ruleRow(n, focus))
	}
	return rows
}

func (f *form) ruleRow(n int, focus string) ruleRow {
	name := func(of string) string { return fmt.Sprintf("%s-%d", of, n) }
	r := ruleRow{N: n, Rule: f.field(name("rule"), "Rule"), Methods: f.field(name("methods"), "Methods"), Private: f.field(name("private"), "Private network")}
	r.Rule.Focus, r.Rule.Mono, r.Rule.Required = r.Rule.Name == focus, true, true
	for _, m := range keybearer.Methods {
		r.Methods.Options = append(r.Methods.Options, Option{Value: m, Text: m})
	}
	if d := f.destination(n); d.Rule != "" {
		r.Preview = previewRule(d)
	}
	return r
}

// destination is what one row says.
func (f *form) destination(n int) custody.Destination {
	return custody.Destination{
		Rule:    strings.TrimSpace(f.Get(fmt.Sprintf("rule-%d", n))),
		Methods: f.Values[fmt.Sprintf("methods-%d", n)],
		Private: f.Is(fmt.Sprintf("private-%d", n), "on"),
	}
}

// destinations are what all rows say. What is wrong with one is noted beside its field; custody's name for the field of each is known to the form from
// then on.
func (f *form) destinations() (all []custody.Destination) {
	for _, n := range f.rowNumbers("rule") {
		d := f.destination(n)
		if d.Rule == "" {
			continue
		}
		field := fmt.Sprintf("rule-%d", n)
		if _, err := policy.ParseRule(d.Rule, d.Methods, d.Private); err != nil {
			f.wrong(field, err)
		}
		f.name(fmt.Sprintf("destinations[%d]", len(all)), field)
		all = append(all, d)
	}
	return all
}

// name notes that the field which custody knows by one name has another in the form.
func (f *form) name(custody, own string) {
	if f.Names == nil {
		f.Names = map[string]string{}
	}
	f.Names[custody] = own
}

func previewRule(d custody.Destination) *rulePreview {
	r, err := policy.ParseRule(d.Rule, d.Methods, d.Private)
	if err != nil {
		e := keybearer.AsError(err)
		return &rulePreview{Error: sentence(e.Message()), Hint: sentence(e.Hint)}
	}
	p := &rulePreview{
		Canonical: r.String(), Changed: r.String() != d.Rule, Clear: r.Scheme == "http", Wildcard: strings.HasPrefix(r.Host, "*"), Private: r.Private,
	}
	p.Near = !r.Private && near(r.Host)
	p.Matches, p.Misses = policy.Examples(r)
	return p
}

// near reports whether a host is by its spelling alone on this machine or a private network. It is for a hint: what is reached, and what not, is judged
// by the addresses of each request.
func near(host string) bool {
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
