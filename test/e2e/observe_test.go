package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/health"
	"github.com/keybearer/keybearer/test/harness"
)

// traces takes what an exporter of OpenTelemetry sends (OTLP over HTTP).
type traces struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*spans.Span
	bytes []byte
}

func collectTraces(t *testing.T) *traces {
	c := new(traces)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bytes = append(c.bytes, body...)
		for _, resource := range sent.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// all returns what came, by name.
func (c *traces) all() map[string]*spans.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	byName := map[string]*spans.Span{}
	for _, s := range c.spans {
		byName[s.Name] = s
	}
	return byName
}

// scrape asks for the metrics in the OpenMetrics format, which has exemplars.
func (w *world) scrape(t *testing.T, url string) string {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%d %v: %s", res.StatusCode, err, body)
	}
	return string(body)
}

// A request is found in the trace, from there in the metrics, and in the audit log; and none of them has what is secret about it.
func TestOneRequestIsFoundEverywhere(t *testing.T) {
	c := collectTraces(t)
	w := prepareWorld(t)
	traced, metrics := harness.FreePort(t), harness.FreePort(t)
	sites := fmt.Sprintf(`
http://:%d {
	bind 127.0.0.1
	tracing {
		span outbound
	}
	keybearer
}
http://:%d {
	bind 127.0.0.1
	metrics
}`, traced, metrics)
	w.Keybearer = harness.NewKeybearer(t, harness.KeybearerOptions{Options: w.options(), Sites: sites, Env: []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50",
	}})
	w.start()
	harness.Await(t, "the log says where apps are served", 20*time.Second, func() error {
		line := linesWith(w.Output(t), `"msg":"serving","apps":[`)
		if !strings.Contains(line, w.Proxy.String()) || !strings.Contains(line, fmt.Sprintf("127.0.0.1:%d", traced)) {
			return fmt.Errorf("%s", line)
		}
		return nil
	})
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)

	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	query := newCanary()
	r, _ := http.NewRequestWithContext(t.Context(), "POST", "http://api.example.com/hook?key="+hex.EncodeToString([]byte(query)), strings.NewReader("{}"))
	r.Header.Set("Keybearer-Credential", "docs/crm")
	r.Header.Set("Proxy-Authorization", "Bearer "+w.tokens["billing"])
	r.Header.Set("Traceparent", "00-"+trace+"-"+parent+"-01")
	to := w.Proxy
	w.Proxy = netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", traced))
	client := &http.Client{Transport: &http.Transport{Proxy: w.proxyURL(), DisableKeepAlives: true}}
	w.Proxy = to
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Fatalf("%s", res.Status)
	}
	id := res.Header.Get("Keybearer-Request-Id")
	arrived := api.All()
	if len(arrived) != 1 {
		t.Fatalf("%d requests arrived", len(arrived))
	}
	if head := strings.ToLower(arrived[0].Head); strings.Contains(head, "traceparent") {
		t.Error("the destination was told of the trace")
	}

	names := []string{"outbound", "keybearer.decide", "keybearer.open", "keybearer.dial", "keybearer.destination"}
	harness.Await(t, "the spans", 20*time.Second, func() error {
		all := c.all()
		for _, name := range names {
			if all[name] == nil {
				return fmt.Errorf("no span %s", name)
			}
		}
		return nil
	})
	all := c.all()
	for _, name := range names {
		s := all[name]
		above := all["outbound"].SpanId
		switch name {
		case "outbound":
			above, _ = hex.DecodeString(parent)
		case "keybearer.dial":
			above = all["keybearer.destination"].SpanId
		}
		if hex.EncodeToString(s.TraceId) != trace || !bytes.Equal(s.ParentSpanId, above) || s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("%s: trace %x, parent %x, from %d to %d", name, s.TraceId, s.ParentSpanId, s.StartTimeUnixNano, s.EndTimeUnixNano)
		}
	}
	if text := all["outbound"].String(); !strings.Contains(text, id) {
		t.Errorf("the span does not name the request %s: %s", id, text)
	}

	url := fmt.Sprintf("http://127.0.0.1:%d/", metrics)
	text := w.scrape(t, url)
	for _, want := range []string{
		`keybearer_requests_total{code="ok",decision="allow",scope="docs"} 1.0 # {`,
		`keybearer_request_duration_seconds_count{phase="destination"} 1`,
		`keybearer_secret_cache_total{result="miss"} 1.0`,
		`keybearer_keyring_operations_total{op="open",result="ok"} 1.0`,
		`keybearer_credentials{scope="docs",state="active"} 1.0`,
		`keybearer_part_up{part="keyring"} 1.0`,
		`keybearer_audit_queue `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the scrape has no %s", want)
		}
	}
	exemplar := regexp.MustCompile(`phase="destination",le="[^"]+"} 1 # {(request_id="` + id + `",?|trace_id="` + trace + `",?){2}}`)
	if !exemplar.MatchString(text) {
		t.Errorf("no exemplar of the request:\n%s", linesWith(text, "# {"))
	}
	if out := w.must("", "audit", "show", id, "-o", "json"); !strings.Contains(out, `"credential":"crm"`) {
		t.Errorf("the audit log: %s", out)
	}
	plain, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Body.Close()
	problems, err := promlint.New(plain.Body).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "keybearer_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	c.mu.Lock()
	sent := c.bytes
	c.mu.Unlock()
	for what, in := range map[string][]byte{"the spans": sent, "the metrics": []byte(text)} {
		for _, secret := range append(w.planted, hex.EncodeToString([]byte(query))) {
			if bytes.Contains(in, []byte(secret)) {
				t.Errorf("%s hold a secret", what)
			}
		}
	}
}

func linesWith(text, part string) string {
	var b strings.Builder
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		if strings.Contains(s.Text(), part) {
			b.WriteString(s.Text() + "\n")
		}
	}
	return b.String()
}

// A server whose store is away is degraded as long as it serves from memory, and unavailable when it refuses; metrics and probes agree, and the
// requests show that it is so.
func TestHealthFollowsTheStore(t *testing.T) {
	t.Parallel()
	database := harness.StartPostgres(t, "fsync=off")
	w := prepareWorld(t)
	metrics := harness.FreePort(t)
	options := w.options("store postgres {env.KEYBEARER_DSN}", "store_max_stale 4s")
	w.Keybearer = harness.NewKeybearer(t, harness.KeybearerOptions{
		Options: options, Env: []string{"KEYBEARER_DSN=" + database.Database(t)},
		Sites: fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tmetrics\n}", metrics),
	})
	w.start()
	w.billing("api.example.com")
	w.recorder("api.example.com", nil)
	ask := func() int { return w.ask(t, w.hook(w.tokens["billing"])).StatusCode }
	if status := ask(); status != 200 {
		t.Fatal(status)
	}
	up := func() bool {
		return strings.Contains(w.scrape(t, fmt.Sprintf("http://127.0.0.1:%d/", metrics)), `keybearer_part_up{part="store"} 1.0`)
	}
	is := func(want health.Status, code int) {
		t.Helper()
		harness.Await(t, "the server is "+string(want), 30*time.Second, func() error {
			out := w.CLI(t, "", "health", "-o", "json")
			var got health.Report
			if err := json.Unmarshal([]byte(out.Stdout), &got); err != nil {
				return fmt.Errorf("exit %d: %s%s", out.Code, out.Stdout, out.Stderr)
			}
			if got.Status != want || out.Code != code {
				return fmt.Errorf("exit %d: %s", out.Code, out.Stdout)
			}
			for _, p := range got.Parts {
				if p.Name == "store" && want != health.Ready && (p.Code != keybearer.StoreUnavailable || p.Detail == "" || p.Since.IsZero()) {
					return fmt.Errorf("the cause is not told: %+v", p)
				}
			}
			return nil
		})
	}
	is(health.Ready, 0)
	if !up() {
		t.Error("part_up says that the store does not work")
	}
	database.Stop(t)
	is(health.Degraded, 0)
	is(health.Unavailable, 1)
	if up() {
		t.Error("part_up says that the store works")
	}
	harness.Await(t, "requests are refused", 20*time.Second, func() error {
		if status := ask(); status != 503 {
			return fmt.Errorf("%d", status)
		}
		return nil
	})
	if out := w.CLI(t, "", "health", "--live"); out.Code != 0 {
		t.Errorf("a server without its store is not alive: %s%s", out.Stdout, out.Stderr)
	}
	if out := w.CLI(t, "", "health"); out.Code != 1 || !strings.Contains(out.Stdout, "unavailable") || !strings.Contains(out.Stdout, "seen first") {
		t.Errorf("exit %d: %s", out.Code, out.Stdout)
	}
	database.Start(t)
	is(health.Ready, 0)
	harness.Await(t, "requests are served", 20*time.Second, func() error {
		if status := ask(); status != 200 {
			return fmt.Errorf("%d", status)
		}
		return nil
	})
	w.Stop(t)
	if out := w.CLI(t, "", "health"); out.Code != 6 {
		t.Errorf("exit %d without a server", out.Code)
	}
}

// A configuration without a site for apps is not refused, since another process may serve them; but nobody is left to wonder.
func TestAServerThatNobodyCanReachSaysSo(t *testing.T) {
	k := harness.NewKeybearer(t, harness.KeybearerOptions{})
	harness.WriteFile(t, k.Config, []byte("{\n\tadmin off\n\tkeybearer\n}\n"))
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	p := harness.Start(t, harness.Command{
		Name: "keybearer", Path: binary, Args: []string{"run", "--config", k.Config, "--adapter", "caddyfile"}, Env: k.Env(),
		Ready: func(context.Context) error {
			if k.CLI(t, "", "health").Code != 0 {
				return fmt.Errorf("not ready")
			}
			return nil
		},
	})
	harness.Await(t, "a warning", 20*time.Second, func() error {
		if log := p.Output(t); !strings.Contains(log, "no site has the directive keybearer") {
			return fmt.Errorf("%s", log)
		}
		return nil
	})
}
