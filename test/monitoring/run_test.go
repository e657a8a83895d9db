package monitoring

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// unseen are selectors of what does not come about in this run.
var unseen = map[string]string{
	`keybearer_requests_total{code="internal"}`:             "would be a defect",
	`keybearer_requests_total{code="scope_regenerating"}`:   "lasts for milliseconds",
	`ALERTS{alertname=~"Keybearer.+", alertstate="firing"}`: "no alert fires at once; the others of ALERTS are there",
}

// A server that nobody has used yet, one in use, one whose keyring is away, and one that is gone.
func TestARealRunOnARealPrometheus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.measured(`keybearer_build_info`)
	w.calm()
	w.use()
	w.troubles()
	t.Run("rules", w.rulesHold)
	t.Run("dashboard", w.panelsShow)
	t.Run("metrics", w.allIsUsed)
	t.Run("exemplars", w.leadToTraces)
	w.Stop(t)
	w.waits(func() {}, "KeybearerDown")
}

// calm: on a fresh server every rule is evaluated without an error, and no alert so much as waits. A machine that is busy may read too late
// now and then, so that the server seems to be down; what is wrong with a rule stays.
func (w *world) calm() {
	harness.Await(w.t, "all is quiet around a fresh server", 20*time.Second, func() error {
		for name, r := range w.judgements(time.Now()) {
			if r.Health != "ok" || r.Type == "alerting" && r.State != "inactive" {
				return fmt.Errorf("%s is %s (%s), and %s", name, r.Health, r.LastError, r.State)
			}
		}
		return nil
	})
}

// use lets requests of all kinds come, twice: what is counted for the first time is seen to grow the second time only.
func (w *world) use() {
	t := w.t
	w.Raw("api.example.com", func(*harness.Arrival) []byte { return []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") })
	w.Raw("silent.example.com", func(*harness.Arrival) []byte { <-t.Context().Done(); return nil })
	elsewhere := harness.StartRecorder(t, harness.RecorderOptions{TLS: harness.ServerTLS(harness.NewCA(t).Issue(t, time.Time{}, "other.example.com"))})
	w.At("other.example.com", elsewhere.Addr)
	hurried := w.Do(t, "", "caller", "create", "hurried", "--scope", "docs", "--rate", "10/h", "--burst", "1")
	w.Do(t, "", "grant", "add", "docs/crm", "app:hurried", "use")
	for name, args := range map[string][]string{
		"docs/off": nil, "docs/unused": nil, "docs/ends": {"--expires", "3d"}, "docs/ended": {"--expires", "1s"}, "docs/empty": {"--no-secret"},
	} {
		secret := "secret-of-" + name
		if name == "docs/empty" {
			secret = ""
		}
		w.Credential(name, secret, harness.Field{}, append([]string{"--kind", "bearer"}, args...)...)
	}
	w.Do(t, "", "credential", "disable", "docs/off")
	w.Do(t, "", "scope", "create", "shop")
	w.Do(t, "", "scope", "generate-key", "shop")
	w.Do(t, "", "scope", "rotate-key", "shop")
	w.Do(t, "s", "credential", "create", "shop/crm", "--kind", "bearer", "--domain", "api.example.com")
	const api = "http://api.example.com/hook"
	harness.Await(t, "docs/ended has ended", 10*time.Second, func() error {
		if code := w.send(w.Token, "docs/ended", api); code != keybearer.CredentialExpired {
			return fmt.Errorf("answered %q", code)
		}
		return nil
	})
	w.expect("", hurried, "docs/crm", api)
	for round := range 2 {
		for i := range 40 {
			w.expect("", w.Token, []string{"docs/crm", "docs/aws", "docs/legacy", "docs/ends"}[i%4], api)
			w.expect(keybearer.RateLimited, hurried, "docs/crm", api)
			w.expect(keybearer.CredentialForbidden, w.Token, "shop/crm", api)
			w.expect(keybearer.DestinationNotAllowed, w.Token, "docs/crm", "http://api.example.net/")
			w.expect(keybearer.DestinationUnreachable, w.Token, "docs/crm", "http://nowhere.example.com/")
			w.expect(keybearer.CallerUnauthenticated, "kb_nobody", "docs/crm", api)
		}
		w.expect(keybearer.CredentialDisabled, w.Token, "docs/off", api)
		w.expect(keybearer.CredentialExpired, w.Token, "docs/ended", api)
		w.expect(keybearer.CredentialNeedsSecret, w.Token, "docs/empty", api)
		w.expect(keybearer.DestinationTLSFailed, w.Token, "docs/crm", "http://other.example.com/")
		if round == 0 {
			w.expect(keybearer.DestinationTimeout, w.Token, "docs/crm", "http://silent.example.com/")
		}
		w.measured(`keybearer_requests_total{code="destination_timeout"} > 0`)
	}
	w.waits(func() {}, "KeybearerRefusalsRising", "KeybearerMostRefused", "KeybearerDestinationFailing", "KeybearerCredentialUnusable", "KeybearerRateLimited",
		"KeybearerCredentialsExpiring", "KeybearerCredentialsExpired", "KeybearerCredentialsNeedSecret")
}

// troubles takes the keyring away until secrets are served past their time, and requests are refused.
func (w *world) troubles() {
	w.vault.Kill()
	w.waits(func() {
		w.send(w.Token, "docs/crm", "http://api.example.com/hook")
		w.send(w.Token, "docs/unused", "http://api.example.com/hook")
	}, "KeybearerPartDown", "KeybearerUnavailable", "KeybearerSecretsStale", "KeybearerKeyringFailing")
}

// waits is done when each of these alerts has begun to wait for its time to fire; meanwhile it does something again and again.
func (w *world) waits(do func(), names ...string) {
	w.t.Helper()
	harness.Await(w.t, "alerts wait", 20*time.Second, func() error {
		do()
		waiting, err := w.prometheus.Query(w.t.Context(), `ALERTS{alertstate="pending"}`)
		if err != nil {
			return err
		}
		names = slices.DeleteFunc(names, func(name string) bool {
			return slices.ContainsFunc(waiting, func(s harness.Series) bool { return s.Metric["alertname"] == name })
		})
		if len(names) > 0 {
			return fmt.Errorf("not %s", strings.Join(names, ", "))
		}
		return nil
	})
}

// rulesHold: no expression fails, and each selector finds something.
func (w *world) rulesHold(t *testing.T) {
	known := w.judgements(time.Now())
	for _, r := range readRules(t) {
		if k := known[r.Record+r.Alert]; k.Health != "ok" {
			t.Errorf("%s is %q: %s", r.Record+r.Alert, k.Health, k.LastError)
		}
		w.ask(t, r.Record+r.Alert, r.Expr)
	}
}

// ask evaluates an expression, and each of its selectors, which must find something.
func (w *world) ask(t *testing.T, who, expr string) {
	t.Helper()
	if _, err := w.prometheus.Query(t.Context(), expr); err != nil {
		t.Errorf("%s: %v", who, err)
	}
	for _, s := range selectors(expr) {
		found, err := w.prometheus.Query(t.Context(), "last_over_time("+s+"[1h])")
		if err != nil || (len(found) == 0) != (unseen[s] != "") {
			t.Errorf("%s: %s finds %d series: %v", who, s, len(found), err)
		}
	}
}

// panelsShow: every query of the dashboard gives something to show, as Grafana would ask it.
func (w *world) panelsShow(t *testing.T) {
	d := readDashboard(t)
	replace := []string{"$__rate_interval", "2s", "$__range", "1m"}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		var query struct{ Query string }
		if err := json.Unmarshal(v.Query, &query); err != nil || query.Query != v.Definition {
			t.Errorf("%s: %v, %q and %q", v.Name, err, query.Query, v.Definition)
		}
		values := w.labelValues(t, strings.NewReplacer(replace...).Replace(query.Query))
		if len(values) == 0 {
			t.Fatalf("%s offers nothing to choose", v.Name)
		}
		if v.Name == "scope" && !slices.Contains(values, "docs") {
			t.Errorf("%s offers %q", v.Name, values)
		}
		all := v.AllValue
		if all == "" { // as Grafana writes all of them
			for i := range values {
				values[i] = strings.ReplaceAll(regexp.QuoteMeta(values[i]), `\`, `\\`)
			}
			all = "(" + strings.Join(values, "|") + ")"
		}
		replace = append(replace, "$"+v.Name, all)
	}
	text := strings.NewReplacer(replace...)
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			expr := text.Replace(q.Expr)
			var found []harness.Series
			var err error
			if q.Instant {
				found, err = w.prometheus.Query(t.Context(), expr)
			} else {
				found, err = w.prometheus.QueryRange(t.Context(), expr, w.began, time.Now(), interval)
			}
			shown := slices.ContainsFunc(found, func(s harness.Series) bool {
				return slices.ContainsFunc(s.Points, func(p harness.Point) bool { return !math.IsNaN(p.Value) })
			})
			if err != nil || !shown {
				t.Errorf("%q shows nothing: %v\n%s", p.Title, err, expr)
			}
			for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(q.LegendFormat, -1) {
				if slices.ContainsFunc(found, func(s harness.Series) bool { return s.Metric[m[1]] == "" }) {
					t.Errorf("%q has a legend without %s\n%s", p.Title, m[1], expr)
				}
			}
			w.ask(t, p.Title, expr)
		}
	}
	for _, a := range d.Annotations.List {
		if a.BuiltIn == 0 {
			w.ask(t, a.Name, a.Expr)
		}
	}
}

// labelValues answers Grafana's label_values(metric, label).
func (w *world) labelValues(t *testing.T, query string) (values []string) {
	t.Helper()
	m := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(query)
	if m == nil {
		t.Fatalf("%s is no label_values(metric, label)", query)
	}
	if err := w.prometheus.API(t.Context(), "/api/v1/label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// unused are metrics of ours that neither the rules nor the dashboard read.
var unused = map[string]string{}

// allIsUsed: what the server serves is well made, and each metric of ours is read by a rule or shown.
func (w *world) allIsUsed(t *testing.T) {
	res, err := http.Get(w.metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, string(text), "check", "metrics")
	read := map[string]bool{}
	note := func(expr string) {
		for _, s := range selectors(expr) {
			name, _, _ := strings.Cut(s, "{")
			read[name] = true
		}
	}
	for _, r := range readRules(t) {
		note(r.Expr)
	}
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			note(q.Expr)
		}
	}
	found := 0
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (keybearer_\w+)`).FindAllStringSubmatch(string(text), -1) {
		found++
		name := m[1]
		if used := read[name] || read[name+"_bucket"]; used == (unused[name] != "") {
			t.Errorf("%s: read %v, listed as unused %v", name, used, unused[name] != "")
		}
	}
	if found < 10 {
		t.Errorf("only %d metrics of ours were found", found)
	}
}

// leadToTraces: a measurement of a traced request names its trace.
func (w *world) leadToTraces(t *testing.T) {
	for _, name := range []string{`keybearer_request_duration_seconds_bucket{phase="total"}`, "keybearer_requests_total"} {
		var data []struct {
			Exemplars []struct{ Labels map[string]string }
		}
		err := w.prometheus.API(t.Context(), "/api/v1/query_exemplars", url.Values{
			"query": {name}, "start": {w.began.Format(time.RFC3339)}, "end": {time.Now().Add(time.Minute).Format(time.RFC3339)},
		}, &data)
		if err != nil || len(data) == 0 || len(data[0].Exemplars) == 0 {
			t.Errorf("%s has no exemplar: %v %v", name, data, err)
			continue
		}
		x := data[0].Exemplars[0].Labels
		if len(x["trace_id"]) != 32 || !strings.HasPrefix(x["request_id"], "req_") {
			t.Errorf("%s has the exemplar %v", name, x)
		}
	}
}
