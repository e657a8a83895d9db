package monitoring

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// interval is how often the world's Prometheus reads and judges.
const interval = 250 * time.Millisecond

// world is a Keybearer over PostgreSQL and Vault that serves its metrics and is traced, as docs/monitoring.md has it set up, and a Prometheus that reads
// it by the configuration and the rules that stand there.
type world struct {
	*harness.Lab
	t          *testing.T
	vault      *harness.Vault
	prometheus *harness.Prometheus
	metrics    string // URL
	web        *http.Client
	began      time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, began: time.Now()}
	site, traced := netip.AddrPortFrom(harness.Address(), 9083), netip.AddrPortFrom(harness.Address(), 9080)
	w.prometheus = harness.StartPrometheus(t, strings.NewReplacer( // first: it takes its time before it reads
		"/etc/prometheus/keybearer.rules.yml", rulesFile, "127.0.0.1:9083", site.String(), "15s", interval.String(),
	).Replace(fenced(t, "yaml")), "")
	w.vault = harness.StartVault(t, harness.VaultOptions{})
	pg := harness.StartPostgres(t, "fsync=off")
	dsn := harness.WriteFile(t, filepath.Join(harness.Dir(t), "dsn"), []byte(pg.Database(t)))
	data, control := w.vault.Transit(t, "keybearer")
	login := func(r harness.AppRole) string {
		return "auth approle {\nrole_id " + r.RoleID + "\nsecret_id_file " + r.SecretIDFile + "\n}"
	}
	w.Lab = harness.StartLab(t, harness.LabOptions{
		Options: "store postgres {file." + dsn + "}\nkeyring vault_transit {\naddress " + w.vault.URL + "\nmount keybearer\n" +
			login(data) + "\ncontrol {\n" + login(control) + "\n}\n}\nsecret_ttl 1s\ntimeouts {\nresponse_header 2s\n}",
		Sites: strings.ReplaceAll(fenced(t, "caddyfile"), "127.0.0.1", site.Addr().String()) +
			fmt.Sprintf("\nhttp://:%d {\n\tbind %s\n\ttracing\n\tkeybearer\n}\n", traced.Port(), traced.Addr()),
		Env: []string{"OTEL_TRACES_EXPORTER=none"},
	})
	w.metrics = "http://" + site.String() + "/metrics"
	w.web = &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: traced.String()}),
	}, Timeout: 20 * time.Second}
	t.Cleanup(w.web.CloseIdleConnections)
	return w
}

// send sends a request with a credential and returns the code of Keybearer's answer, or "" for one of the destination.
func (w *world) send(token, credential, to string) keybearer.Code {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, to, strings.NewReader("{}"))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Keybearer-Credential", credential)
	req.Header.Set("Proxy-Authorization", "Bearer "+token)
	res, err := w.web.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var problem struct{ Code keybearer.Code }
	_ = json.Unmarshal(body, &problem) // of the destination is no JSON
	return problem.Code
}

// expect sends a request that must be answered with that code.
func (w *world) expect(code keybearer.Code, token, credential, to string) {
	w.t.Helper()
	if got := w.send(token, credential, to); got != code {
		w.t.Fatalf("%s to %s: answered %q, want %q", credential, to, got, code)
	}
}

// measured waits until Prometheus finds that an expression holds for something.
func (w *world) measured(expr string) {
	w.t.Helper()
	harness.Await(w.t, expr, 20*time.Second, func() error {
		found, err := w.prometheus.Query(w.t.Context(), expr)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("nothing was found")
		}
		return err
	})
}

// judged is what Prometheus says of a rule.
type judged struct {
	Name, Type, Health, LastError, State, LastEvaluation string
	Query                                                string
}

// judgements returns what Prometheus says of all rules, once each was evaluated after that time.
func (w *world) judgements(after time.Time) map[string]judged {
	w.t.Helper()
	all := map[string]judged{}
	harness.Await(w.t, "every rule is evaluated", 20*time.Second, func() error {
		var data struct{ Groups []struct{ Rules []judged } }
		if err := w.prometheus.API(w.t.Context(), "/api/v1/rules", nil, &data); err != nil {
			return err
		}
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				at, err := time.Parse(time.RFC3339Nano, r.LastEvaluation)
				if err != nil || at.Before(after) {
					return fmt.Errorf("%s was last evaluated at %s", r.Name, r.LastEvaluation)
				}
				all[r.Name] = r
			}
		}
		if len(all) == 0 {
			return fmt.Errorf("there are none")
		}
		return nil
	})
	return all
}
