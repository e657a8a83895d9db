package metrics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/keybearertest"
)

// gather returns the values of all metrics, histograms by their count, as "name{label=value}".
func gather(t *testing.T, m *Meter) (map[string]float64, []*dto.MetricFamily) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := m.Register(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, one := range f.Metric {
			var labels []string
			for _, l := range one.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := f.GetName() + "{" + strings.Join(labels, ",") + "}"
			switch {
			case one.Counter != nil:
				values[key] = one.Counter.GetValue()
			case one.Gauge != nil:
				values[key] = one.Gauge.GetValue()
			case one.Histogram != nil:
				values[key] = float64(one.Histogram.GetSampleCount())
			}
		}
	}
	return values, families
}

// nonzero leaves out what is 0.
func nonzero(values map[string]float64) map[string]float64 {
	maps.DeleteFunc(values, func(key string, v float64) bool { return v == 0 || strings.HasPrefix(key, "keybearer_build_info") })
	return values
}

func TestWhatHappenedIsCounted(t *testing.T) {
	m := New("1.2.3")
	m.Request("docs", keybearer.Allow, "", Exemplar{})
	m.Request("docs", keybearer.Allow, "", Exemplar{})
	m.Request("docs", keybearer.Allow, keybearer.DestinationTimeout, Exemplar{})
	m.Request("", keybearer.Refuse, keybearer.CallerUnauthenticated, Exemplar{})
	m.Observe(Decide, 3*time.Millisecond, Exemplar{})
	m.Observe(Total, 20*time.Millisecond, Exemplar{})
	m.Look(Hit)
	m.Look(Stale)
	values, _ := gather(t, m)
	want := map[string]float64{
		"keybearer_requests_total{code=ok,decision=allow,scope=docs}":                  2,
		"keybearer_requests_total{code=destination_timeout,decision=allow,scope=docs}": 1,
		"keybearer_requests_total{code=caller_unauthenticated,decision=refuse,scope=}": 1,
		"keybearer_request_duration_seconds{phase=decide}":                             1,
		"keybearer_request_duration_seconds{phase=total}":                              1,
		"keybearer_secret_cache_total{result=hit}":                                     1,
		"keybearer_secret_cache_total{result=stale}":                                   1,
	}
	if diff := cmp.Diff(want, nonzero(values)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// An exemplar leads from a measurement to the trace, and to the line of the audit log.
func TestTracedRequestsAreExamples(t *testing.T) {
	m := New("")
	x := Exemplar{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", RequestID: keybearer.NewID(keybearer.IDRequest)}
	m.Request("docs", keybearer.Allow, "", x)
	m.Observe(Destination, 7*time.Millisecond, x)
	_, families := gather(t, m)
	found := map[string]string{}
	note := func(name string, e *dto.Exemplar) {
		for _, l := range e.GetLabel() {
			found[name+" "+l.GetName()] = l.GetValue()
		}
	}
	for _, f := range families {
		for _, one := range f.Metric {
			note(f.GetName(), one.GetCounter().GetExemplar())
			for _, b := range one.GetHistogram().GetBucket() {
				note(f.GetName(), b.GetExemplar())
			}
		}
	}
	want := map[string]string{}
	for _, name := range []string{"keybearer_requests_total", "keybearer_request_duration_seconds"} {
		want[name+" trace_id"], want[name+" request_id"] = x.TraceID, x.RequestID
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestEveryRegistryGetsTheSame(t *testing.T) {
	m := New("1.2.3")
	m.Look(Miss)
	one := prometheus.NewPedanticRegistry()
	for range 2 { // a frame that registers twice
		if err := m.Register(one); err != nil {
			t.Fatal(err)
		}
	}
	values, _ := gather(t, m) // on another one
	if values["keybearer_secret_cache_total{result=miss}"] != 1 {
		t.Error("the second registry does not know what was counted before")
	}
	if err := m.Register(broken{prometheus.NewRegistry()}); err == nil {
		t.Error("a registry that takes nothing was no error")
	}
}

type broken struct{ prometheus.Registerer }

func (broken) Register(prometheus.Collector) error { return errors.New("broken") }

func TestWithoutAMeterNothingIsCounted(t *testing.T) {
	var m *Meter
	m.Request("docs", keybearer.Allow, "", Exemplar{TraceID: "x"})
	m.Observe(Total, time.Second, Exemplar{})
	m.Look(Hit)
	m.Follow(&Source{})()
	if err := m.Register(prometheus.NewRegistry()); err != nil {
		t.Error(err)
	}
	k := openKeyring(t)
	if m.Keyring(k) != k {
		t.Error("the keyring was wrapped")
	}
}

// What is on the way of every request costs it no memory.
func TestCountingAllocatesNothing(t *testing.T) {
	m := New("")
	count := func() {
		m.Request("docs", keybearer.Allow, "", Exemplar{})
		m.Observe(Total, time.Millisecond, Exemplar{})
		m.Look(Hit)
	}
	count()
	if n := testing.AllocsPerRun(100, count); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func openKeyring(t *testing.T) keybearer.Keyring {
	t.Helper()
	k, err := localkeys.Open(localkeys.Config{Path: filepath.Join(t.TempDir(), "keyring.key")})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A keyring behind the meter is a keyring.
func TestKeyringConformance(t *testing.T) {
	keybearertest.TestKeyring(t, func(t *testing.T) keybearer.Keyring { return New("").Keyring(openKeyring(t)) })
}

func TestOperationsOfTheKeyringAreCounted(t *testing.T) {
	m := New("")
	k := m.Keyring(openKeyring(t))
	defer k.Close()
	ctx := t.Context()
	if err := k.CreateKey(ctx, "scope-a"); err != nil {
		t.Fatal(err)
	}
	if err := k.CreateKey(ctx, "scope-a"); err == nil {
		t.Fatal("made twice")
	}
	if _, err := k.KeyVersion(ctx, "nowhere"); err == nil {
		t.Fatal("found")
	}
	var sc keybearer.SealContext
	sealed, err := k.Seal(ctx, "scope-a", sc, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(ctx, "scope-a", sc, sealed); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(ctx, "scope-a", sc, []byte("local:v1:AAAA")); err == nil {
		t.Fatal("opened")
	}
	if _, err := k.RotateKey(ctx, "scope-a"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rewrap(ctx, "scope-a", []keybearer.RewrapItem{{Context: sc, Sealed: sealed}}); err != nil {
		t.Fatal(err)
	}
	if err := k.DestroyKey(ctx, "scope-a"); err != nil {
		t.Fatal(err)
	}
	values, _ := gather(t, m)
	want := map[string]float64{
		"keybearer_keyring_operations_total{op=create_key,result=ok}":             1,
		"keybearer_keyring_operations_total{op=create_key,result=already_exists}": 1,
		"keybearer_keyring_operations_total{op=key_version,result=ok}":            1,
		"keybearer_keyring_operations_total{op=seal,result=ok}":                   1,
		"keybearer_keyring_operations_total{op=open,result=ok}":                   1,
		"keybearer_keyring_operations_total{op=open,result=keyring_unavailable}":  1,
		"keybearer_keyring_operations_total{op=rotate_key,result=ok}":             1,
		"keybearer_keyring_operations_total{op=rewrap,result=ok}":                 1,
		"keybearer_keyring_operations_total{op=destroy_key,result=ok}":            1,
		"keybearer_keyring_operation_duration_seconds{op=create_key}":             2,
		"keybearer_keyring_operation_duration_seconds{op=key_version}":            1,
		"keybearer_keyring_operation_duration_seconds{op=seal}":                   1,
		"keybearer_keyring_operation_duration_seconds{op=open}":                   2,
		"keybearer_keyring_operation_duration_seconds{op=rotate_key}":             1,
		"keybearer_keyring_operation_duration_seconds{op=rewrap}":                 1,
		"keybearer_keyring_operation_duration_seconds{op=destroy_key}":            1,
	}
	if diff := cmp.Diff(want, nonzero(values)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// plain is a keyring and nothing else, able one that can do more.
type plain struct{ keybearer.Keyring }

type able struct{ keybearer.Keyring }

func (able) OpenOnly() bool { return true }
func (able) Diagnose(context.Context) []keybearer.Finding {
	return []keybearer.Finding{{Check: "mount"}}
}

func TestWhatAKeyringCanDoBesideItStillCan(t *testing.T) {
	k := openKeyring(t)
	defer k.Close()
	for _, c := range []struct {
		inner    keybearer.Keyring
		only     bool
		findings int
	}{{plain{k}, false, 0}, {able{k}, true, 1}} {
		outer := New("").Keyring(c.inner)
		if got := outer.(keybearer.OpenOnly).OpenOnly(); got != c.only {
			t.Errorf("%T: open only is %t", c.inner, got)
		}
		if got := outer.(keybearer.Diagnoser).Diagnose(t.Context()); len(got) != c.findings {
			t.Errorf("%T: %d findings", c.inner, len(got))
		}
	}
}

func TestTheNewestSourceIsAsked(t *testing.T) {
	m := New("")
	source := func(n int) *Source {
		return &Source{
			Audit:   func() (int, uint64) { return n, uint64(10 * n) },
			FeedLag: func() time.Duration { return time.Duration(n) * time.Second },
			Parts:   func(context.Context) map[string]bool { return map[string]bool{"store": true, "keyring": n == 1} },
			Credentials: func(context.Context) ([]Count, error) {
				return []Count{{"docs", keybearer.Active, n}, {"docs", Expiring, 1}}, nil
			},
		}
	}
	if values, _ := gather(t, m); len(nonzero(values)) != 0 {
		t.Errorf("without a source: %v", values)
	}
	stopOld, stopNew := m.Follow(source(1)), m.Follow(source(2))
	want := map[string]float64{
		"keybearer_audit_queue{}":                        2,
		"keybearer_audit_dropped_total{}":                20,
		"keybearer_feed_lag_seconds{}":                   2,
		"keybearer_part_up{part=store}":                  1,
		"keybearer_credentials{scope=docs,state=active}": 2,
		"keybearer_credentials_expiring{scope=docs}":     1,
	}
	values, _ := gather(t, m)
	if up, ok := values["keybearer_part_up{part=keyring}"]; up != 0 || !ok {
		t.Error("the part that does not work is not told as such")
	}
	if diff := cmp.Diff(want, nonzero(values)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	stopNew()
	if values, _ = gather(t, m); values["keybearer_audit_queue{}"] != 1 {
		t.Error("the old source is not asked again when the new one has gone")
	}
	stopOld()
	if values, _ = gather(t, m); len(nonzero(values)) != 0 {
		t.Errorf("after the last source: %v", values)
	}
}

// Counts that cannot be had are absent. A zero would say that all credentials are gone.
func TestASourceThatFailsSaysNothing(t *testing.T) {
	m := New("")
	defer m.Follow(&Source{Credentials: func(context.Context) ([]Count, error) {
		return []Count{{"docs", keybearer.Active, 1}}, errors.New("away")
	}})()
	if values, _ := gather(t, m); len(nonzero(values)) != 0 {
		t.Errorf("%v", values)
	}
}

// A count that takes longer than a scrape waits is not begun anew by each.
func TestALongCountGoesOnBehindTheScrape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, asked := New(""), 0
		stop := m.Follow(&Source{Credentials: func(ctx context.Context) ([]Count, error) {
			asked++
			select {
			case <-time.After(12 * time.Second):
				return []Count{{"docs", keybearer.Active, 7}}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}})
		for scrape := range 2 {
			if values, _ := gather(t, m); len(nonzero(values)) != 0 {
				t.Errorf("scrape %d: %v", scrape, values)
			}
		}
		values, _ := gather(t, m)
		if values["keybearer_credentials{scope=docs,state=active}"] != 7 || asked != 1 {
			t.Errorf("%v, asked %d times", values, asked)
		}
		gather(t, m)
		before := time.Now()
		stop() // while the second count is under way
		if time.Since(before) != 0 || asked != 2 {
			t.Errorf("it took %s to end the second of %d counts", time.Since(before), asked)
		}
	})
}

func TestNamesAndLabelsAreThoseOfTheContract(t *testing.T) {
	var got []string
	for _, d := range descriptions(New("")) {
		got = append(got, fmt.Sprintf("%s{%s}", d.name, strings.Join(d.labels, ",")))
	}
	slices.Sort(got)
	want := []string{
		"keybearer_audit_dropped_total{}",
		"keybearer_audit_queue{}",
		"keybearer_build_info{version,goversion}",
		"keybearer_credentials_expiring{scope}",
		"keybearer_credentials{scope,state}",
		"keybearer_feed_lag_seconds{}",
		"keybearer_keyring_operation_duration_seconds{op}",
		"keybearer_keyring_operations_total{op,result}",
		"keybearer_part_up{part}",
		"keybearer_request_duration_seconds{phase}",
		"keybearer_requests_total{scope,decision,code}",
		"keybearer_secret_cache_total{result}",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
