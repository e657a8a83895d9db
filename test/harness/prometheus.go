package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Prometheus is Debian's Prometheus with an empty database, which keeps exemplars.
type Prometheus struct {
	*Process
	Addr netip.AddrPort // port 9090 of an address of its own

	client *http.Client
}

// StartPrometheus starts Prometheus with this configuration and waits until it is ready; five seconds later it begins to read targets. Relative paths in it are seen from dir; "" is a
// directory of its own.
func StartPrometheus(tb TB, config, dir string) *Prometheus {
	tb.Helper()
	data := Dir(tb)
	if dir == "" {
		dir = data
	}
	p := &Prometheus{Addr: netip.AddrPortFrom(Address(), 9090), client: &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}}
	tb.Cleanup(p.client.CloseIdleConnections)
	file := WriteFile(tb, filepath.Join(dir, "prometheus.yml"), []byte(config))
	p.Process = Start(tb, Command{
		Name: "prometheus", Path: "prometheus", Dir: dir,
		Args: []string{
			"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(data, "tsdb"), "--web.listen-address=" + p.Addr.String(),
			"--enable-feature=exemplar-storage", "--log.level=warn",
		},
		Ready: func(ctx context.Context) error { return p.get(ctx, "/-/ready", nil, nil) },
	})
	return p
}

// Series is what a query gave for one set of labels.
type Series struct {
	Metric map[string]string
	Points []Point // one, of an instant query
}

// Point is a value at a time.
type Point struct {
	Time  time.Time
	Value float64
}

// UnmarshalJSON implements [json.Unmarshaler] for [time, "value"].
func (p *Point) UnmarshalJSON(b []byte) error {
	var at float64
	var value string
	err := json.Unmarshal(b, &[]any{&at, &value})
	if err == nil {
		p.Time = time.UnixMilli(int64(at * 1000))
		p.Value, err = strconv.ParseFloat(value, 64)
	}
	return err
}

// Query evaluates an expression now.
func (p *Prometheus) Query(ctx context.Context, expr string) ([]Series, error) {
	return p.query(ctx, "/api/v1/query", url.Values{"query": {expr}})
}

// QueryRange evaluates an expression over a time, once in each step.
func (p *Prometheus) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]Series, error) {
	stamp := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	return p.query(ctx, "/api/v1/query_range", url.Values{
		"query": {expr}, "start": {stamp(from)}, "end": {stamp(to)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', 3, 64)},
	})
}

func (p *Prometheus) query(ctx context.Context, path string, values url.Values) ([]Series, error) {
	var data struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := p.API(ctx, path, values, &data); err != nil {
		return nil, err
	}
	if data.ResultType == "scalar" {
		var only Point
		err := json.Unmarshal(data.Result, &only)
		return []Series{{Points: []Point{only}}}, err
	}
	var results []struct {
		Metric map[string]string
		Value  *Point
		Values []Point
	}
	if err := json.Unmarshal(data.Result, &results); err != nil {
		return nil, err
	}
	var out []Series
	for _, r := range results {
		if r.Value != nil {
			r.Values = []Point{*r.Value}
		}
		out = append(out, Series{r.Metric, r.Values})
	}
	return out, nil
}

// API asks a resource of Prometheus' API, as in /api/v1/rules, and decodes the data of its answer.
func (p *Prometheus) API(ctx context.Context, path string, values url.Values, data any) error {
	return p.get(ctx, path, values, &struct{ Data any }{data})
}

func (p *Prometheus) get(ctx context.Context, path string, values url.Values, into any) error {
	to := "http://" + p.Addr.String() + path + "?" + values.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s: %s", path, res.Status, strings.TrimSpace(string(body)))
	case into == nil:
		return nil
	}
	return json.Unmarshal(body, into)
}
