// Package monitoring tests what is in monitoring/: the rules by promtool's unit tests, the dashboard by its structure, and every query of both on a
// real Prometheus that reads a real server in use and in trouble. No Grafana is among the tests' parts, so nobody knows here how a panel looks.
package monitoring

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

var update = flag.Bool("update", false, "write the table in docs/monitoring.md anew")

var (
	rulesFile = filepath.Join(harness.Repository(), "monitoring/keybearer.rules.yml")
	page      = filepath.Join(harness.Repository(), "docs/monitoring.md")
)

// rule is a recording rule or an alert, as Prometheus reads it.
type rule struct {
	Record, Alert, Expr string
	For                 string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	readYAML(t, rulesFile, &file)
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func alerts(t *testing.T) (all []rule) {
	t.Helper()
	for _, r := range readRules(t) {
		if r.Alert != "" {
			all = append(all, r)
		}
	}
	return all
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	if r := harness.Run(t, harness.Command{Path: "promtool", Args: args}, stdin); r.Code != 0 {
		t.Errorf("promtool %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
}

func TestTheRulesAreWellMade(t *testing.T) {
	promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", rulesFile)
	all, names := readRules(t), map[string]bool{}
	for _, r := range all {
		if name := r.Record + r.Alert; names[name] {
			t.Errorf("%s is there twice", name)
		} else {
			names[name] = true
		}
		if r.Record != "" {
			used := slices.ContainsFunc(all, func(other rule) bool { return other.Record != r.Record && strings.Contains(other.Expr, r.Record) })
			if !used {
				t.Errorf("%s is recorded, and no rule reads it", r.Record)
			}
			continue
		}
		summary, description := r.Annotations["summary"], r.Annotations["description"]
		switch severity := r.Labels["severity"]; {
		case !strings.HasPrefix(r.Alert, "Keybearer"):
			t.Errorf("%s is not named after us", r.Alert)
		case severity != "critical" && severity != "warning":
			t.Errorf("%s has severity %q", r.Alert, severity)
		case r.For == "":
			t.Errorf("%s fires at the first sight", r.Alert)
		case !strings.Contains(summary, "{{ $labels."):
			t.Errorf("%s does not say where: %q", r.Alert, summary)
		case description == "" || strings.Contains(description, "{{"):
			t.Errorf("%s: the description stands in the documentation too: %q", r.Alert, description)
		case r.Annotations["runbook_url"] != "https://github.com/keybearer/keybearer/blob/main/docs/monitoring.md#"+strings.ToLower(r.Alert):
			t.Errorf("%s leads to %s", r.Alert, r.Annotations["runbook_url"])
		case len(r.Annotations) != 3 || len(r.Labels) != 1:
			t.Errorf("%s has %v and %v", r.Alert, r.Labels, r.Annotations)
		}
	}
}

// unit is what promtool calls a unit test.
type unit struct {
	Name  string
	Rules []struct {
		Alert string      `yaml:"alertname"`
		At    string      `yaml:"eval_time"`
		Fires []yaml.Node `yaml:"exp_alerts"`
	} `yaml:"alert_rule_test"`
}

func TestEveryAlertFiresWhenItShouldAndNotBefore(t *testing.T) {
	t.Parallel()
	const tests = "testdata/alerts.yml"
	var file struct{ Tests []unit }
	readYAML(t, tests, &file)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, u := range file.Tests {
		for _, r := range u.Rules {
			if len(r.Fires) > 0 {
				fires[r.Alert] = true
			} else if !fires[r.Alert] {
				silent[r.Alert] = true // before it fires
			}
		}
	}
	constant := map[string]map[string]string{}
	for _, a := range alerts(t) {
		constant[a.Alert] = a.Annotations
		if !fires[a.Alert] || !silent[a.Alert] {
			t.Errorf("%s has no unit test in which it is silent first, and fires then", a.Alert)
		}
	}

	var whole map[string]any
	readYAML(t, tests, &whole)
	whole["rule_files"] = []string{rulesFile}
	for _, u := range whole["tests"].([]any) {
		for _, r := range u.(map[string]any)["alert_rule_test"].([]any) {
			r := r.(map[string]any)
			for _, fires := range r["exp_alerts"].([]any) {
				annotations := fires.(map[string]any)["exp_annotations"].(map[string]any)
				for _, name := range []string{"description", "runbook_url"} {
					annotations[name] = constant[r["alertname"].(string)][name]
				}
			}
		}
	}
	text, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "test", "rules", harness.WriteFile(t, filepath.Join(harness.Dir(t), "alerts.yml"), text))
}

// quiet are codes that no alert is for.
var quiet = map[keybearer.Code]string{
	keybearer.CallerGone: "apps hang up, and nobody can do anything about it here",
}

func TestEveryCodeThatAnAppCanMeetHasAnAlert(t *testing.T) {
	watched := map[string]bool{}
	for _, r := range readRules(t) {
		for _, m := range regexp.MustCompile(`code=~?"([^"]*)"`).FindAllStringSubmatch(r.Expr, -1) {
			for code := range strings.SplitSeq(m[1], "|") {
				watched[code] = true
			}
		}
	}
	for _, c := range keybearer.Codes() {
		if c.Data && watched[string(c.Code)] == (quiet[c.Code] != "") {
			t.Errorf("%s: watched %v, listed as quiet %v", c.Code, watched[string(c.Code)], quiet[c.Code] != "")
		}
		delete(watched, string(c.Code))
	}
	for code := range watched {
		t.Errorf("the rules watch %q, which is no code", code)
	}
}

// A command that a description tells to type is there, with its flags.
func TestEveryCommandInAnAlertExists(t *testing.T) {
	t.Parallel()
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]bool{}
	for _, a := range alerts(t) {
		for _, m := range regexp.MustCompile("`keybearer ([^`]*)`").FindAllStringSubmatch(a.Annotations["description"], -1) {
			commands[m[1]] = true
		}
	}
	for command := range commands {
		r := harness.Run(t, harness.Command{Path: binary, Args: append(strings.Fields(command), "--help")}, "")
		if r.Code != 0 || !strings.Contains(r.Stdout, "Usage:\n  keybearer "+strings.Join(words(command), " ")) {
			t.Errorf("keybearer %s: exit code %d\n%s%s", command, r.Code, r.Stdout, r.Stderr)
		}
	}
	if len(commands) < 5 {
		t.Errorf("only %d commands were found", len(commands))
	}
}

// words are noun and verb of a command.
func words(command string) (out []string) {
	for _, w := range strings.Fields(command) {
		if strings.HasPrefix(w, "-") || strings.HasPrefix(w, "<") {
			break
		}
		out = append(out, w)
	}
	return out
}

// The table of docs/monitoring.md is what the rules say, written by: go test ./test/monitoring -run TestTheAlertsInTheDocumentation -update
func TestTheAlertsInTheDocumentation(t *testing.T) {
	const begin, end = "<!-- alerts: written by go test ./test/monitoring -run TestTheAlertsInTheDocumentation -update -->\n", "<!-- end of alerts -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("docs/monitoring.md has no place for the table")
	}
	var b bytes.Buffer
	b.WriteString(before + begin + "| alert | after | what it says | what it means, and what to do |\n|---|---|---|---|\n")
	for _, a := range alerts(t) {
		fmt.Fprintf(&b, "| <a id=\"%s\"></a>`%s`<br>%s | %s | %s | %s |\n", strings.ToLower(a.Alert), a.Alert, a.Labels["severity"], a.For,
			says(a.Annotations["summary"]), regexp.MustCompile(`docs/([\w-]+)\.md`).ReplaceAllString(a.Annotations["description"], "[$1]($1.md)"))
	}
	b.WriteString(end + after)
	if *update {
		if err := os.WriteFile(page, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(b.Bytes(), text) {
		t.Error("the table in docs/monitoring.md is not what the rules say; run: go test ./test/monitoring -run TestTheAlertsInTheDocumentation -update")
	}
}

// says writes a summary for people: labels by their names, and n for the value.
func says(summary string) string {
	summary = regexp.MustCompile(`\{\{ \$labels\.(\w+) \}\}`).ReplaceAllString(summary, "*$1*")
	summary = regexp.MustCompile(`\{\{ \$value \| humanizePercentage \}\}`).ReplaceAllString(summary, "*n* %")
	return regexp.MustCompile(`\{\{[^}]*\$value[^}]*\}\}`).ReplaceAllString(summary, "*n*")
}

func TestThePrometheusConfigurationInTheDocumentation(t *testing.T) {
	dir := harness.Dir(t)
	config := strings.ReplaceAll(fenced(t, "yaml"), "/etc/prometheus/keybearer.rules.yml", rulesFile)
	promtool(t, "", "check", "config", "--lint=all", "--lint-fatal", harness.WriteFile(t, filepath.Join(dir, "prometheus.yml"), []byte(config)))
}

// fenced returns the block of docs/monitoring.md that is marked with the language; there is one.
func fenced(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "```"+language+"\n")
	if len(parts) != 2 {
		t.Fatalf("%d blocks are marked %s", len(parts)-1, language)
	}
	block, _, _ := strings.Cut(parts[1], "```\n")
	return block
}
