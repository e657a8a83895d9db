package proxy

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

func limitedLab(t testing.TB, l keybearer.Limits, destination int) *lab {
	return newLab(t, func(_ *lab, c *Config) { c.Limits, c.DestinationConcurrency = l, destination })
}

// call is one request of the lab's caller, as a wire engine hands it over.
func (l *lab) call(credential string) *Call {
	return &Call{Method: "GET", Target: l.plain() + "/", Host: "h", Route: &Route{}, Fields: []Field{
		{"Keybearer-Credential", credential}, {"Proxy-Authorization", "Bearer " + l.token},
	}}
}

// under is what is under way by all callers and to all destinations; it fails if anything is less than nothing.
func (l *lab) under() (callers, destinations int) {
	for key, q := range l.proxy.gate.limits.quotas {
		if q.under < 0 {
			l.t.Errorf("%+v has %d under way", key, q.under)
		}
		if key.caller != "" {
			callers += q.under
		} else {
			destinations += q.under
		}
	}
	return callers, destinations
}

func TestACallersRateIsABucketThatFills(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	q := &quota{}
	l := keybearer.Limits{Rate: 0.5, Burst: 3}
	for i, step := range []struct {
		after time.Duration
		in    bool
		wait  time.Duration
	}{
		{0, true, 0},
		{0, true, 0},
		{0, true, 0},
		{0, false, 2 * time.Second},
		{500 * time.Millisecond, false, 1500 * time.Millisecond},
		{1500 * time.Millisecond, true, 0},
		{0, false, 2 * time.Second},
		{time.Hour, true, 0}, // and no more than the burst was saved
		{0, true, 0},
		{0, true, 0},
		{0, false, 2 * time.Second},
	} {
		at = at.Add(step.after)
		v, wait := q.enter(l, at)
		if (v == entered) != step.in || wait.Round(time.Millisecond) != step.wait {
			t.Errorf("step %d: %v, %v to wait", i, v, wait)
		}
	}
	// Another limit holds at once, and starts from what is left.
	faster := keybearer.Limits{Rate: 10, Burst: 3}
	if v, wait := q.enter(faster, at); v != tooFast || wait.Round(time.Millisecond) != 100*time.Millisecond {
		t.Error("a higher rate gives what was used up back, or has another time to wait:", v, wait)
	}
	if v, _ := q.enter(faster, at.Add(100*time.Millisecond)); v != entered {
		t.Error("a higher rate does not fill faster")
	}
	at = at.Add(time.Hour)
	for i, want := range []verdict{entered, entered, tooFast} {
		if v, _ := q.enter(keybearer.Limits{Rate: 10, Burst: 2}, at); v != want {
			t.Errorf("a smaller burst: %d is %v", i, v)
		}
	}
	if v, _ := q.enter(keybearer.Limits{Rate: keybearer.Unlimited}, at); v != entered {
		t.Error("no limit still holds")
	}
}

func TestRetryAfterIsWholeSecondsAndNeverNone(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "1", 1: "1", time.Second: "1", time.Second + 1: "2", 90 * time.Second: "90"} {
		if got := wholeSeconds(d); got != want {
			t.Errorf("%v is %s", d, got)
		}
	}
}

// One request counts once however often it is judged, and is refused with the time to wait; the refusal opens nothing and consumes no intent.
func TestACallerThatAsksTooOftenIsToldWhenToComeBack(t *testing.T) {
	l := limitedLab(t, keybearer.Limits{Rate: 0.25, Burst: 2}, 0)
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	app := l.client(addr)
	get := func(credential string) (*http.Response, string) {
		t.Helper()
		resp := must(app.Do(l.request("GET", l.plain()+"/", credential, nil)))
		defer resp.Body.Close()
		return resp, string(must(io.ReadAll(resp.Body)))
	}
	for range 3 { // refused by rule before it comes to the rate: not counted
		if resp, _ := get("docs/other"); resp.StatusCode != 403 {
			t.Fatal(resp.StatusCode)
		}
	}
	for range 2 {
		if resp, body := get("docs/crm"); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode, body)
		}
	}
	resp, body := get("docs/crm")
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "4" || !strings.Contains(body, "asks more often than it may") ||
		!strings.Contains(resp.Header.Get("Proxy-Status"), `details="rate_limited"`) {
		t.Fatal(resp.StatusCode, resp.Header, body)
	}
	l.clock.advance(4 * time.Second)
	if resp, body := get("docs/crm"); resp.StatusCode != 200 {
		t.Fatal(resp.StatusCode, body)
	}
	events := l.events(7)
	for _, e := range events {
		if e.Code == keybearer.RateLimited && (e.Phase != keybearer.Outcome || e.Kind != keybearer.RefusalEvent || e.Caller != "billing" || e.Credential != "crm") {
			t.Errorf("%+v", e)
		}
	}
	callers, destinations := l.under()
	if callers != 0 || destinations != 0 {
		t.Errorf("%d and %d are under way", callers, destinations)
	}
}

func TestACallersOwnLimitsStandOverTheInstances(t *testing.T) {
	l := limitedLab(t, keybearer.Limits{Rate: 0.01, Burst: 1}, 0)
	l.credential("crm", l.bearer(), "s3cret-token")
	admit := func() keybearer.Code {
		p, err := l.proxy.Gate().Admit(t.Context(), l.call("docs/crm"))
		if err != nil {
			return err.Code
		}
		p.Finish(Result{Status: 200})
		return ""
	}
	set := func(own keybearer.Limits) {
		c := must(l.store.Caller(t.Context(), "billing")).Clone()
		c.Limits = own
		l.commit(keybearer.Write{Caller: c})
	}
	if got := admit(); got != "" {
		t.Fatal(got)
	}
	if got := admit(); got != keybearer.RateLimited {
		t.Fatalf("the instance's limit: %q", got)
	}
	set(keybearer.Limits{Rate: keybearer.Unlimited})
	for range 10 {
		if got := admit(); got != "" {
			t.Fatalf("no limit: %q", got)
		}
	}
	set(keybearer.Limits{Rate: keybearer.Unlimited, Concurrency: 1})
	p, err := l.proxy.Gate().Admit(t.Context(), l.call("docs/crm"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.proxy.Gate().Admit(t.Context(), l.call("docs/crm"))
	if err == nil || err.Code != keybearer.RateLimited || err.RetryAfter != time.Second || !strings.Contains(err.Detail, "under way") {
		t.Fatalf("a second one under way: %v", err)
	}
	p.Finish(Result{Status: 200})
	if got := admit(); got != "" {
		t.Fatalf("after the first has ended: %q", got)
	}
}

// A pass that is judged again, because something changed, is not counted again.
func TestAPassCountsOnceHoweverOftenItIsJudged(t *testing.T) {
	l := limitedLab(t, keybearer.Limits{Rate: 0.01, Burst: 1, Concurrency: 1}, 1)
	c := l.credential("crm", l.bearer(), "s3cret-token")
	p, err := l.proxy.Gate().Admit(t.Context(), l.call("docs/crm"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l.update(c, func(c *keybearer.Credential) { c.Description += "x" })
		if err := p.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := l.under(); a != 1 || b != 1 {
		t.Errorf("%d and %d are under way", a, b)
	}
	p.Finish(Result{Status: 200})
	if a, b := l.under(); a != 0 || b != 0 {
		t.Errorf("%d and %d are under way", a, b)
	}
}

// One destination that never answers takes its own share: others go on, and it is free again when the app gives up.
func TestOneStalledDestinationDoesNotTakeEverything(t *testing.T) {
	l := limitedLab(t, keybearer.Limits{}, 2)
	stalled := make(chan struct{}, 10)
	l.handle = func(w http.ResponseWriter, r *http.Request) {
		stalled <- struct{}{}
		<-r.Context().Done()
	}
	l.credential("crm", l.bearer(), "s3cret-token")
	other := newLab(t) // for its destination
	l.credential("other", keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules(other.destination.URL)}, "s3cret-other")
	app := l.client(l.serve(Route{}))
	ctx, giveUp := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() {
			if resp, err := app.Do(l.request("GET", l.plain()+"/", "docs/crm", nil).WithContext(ctx)); err == nil {
				resp.Body.Close()
				t.Error("the stalled destination answered", resp.StatusCode)
			}
		})
	}
	<-stalled
	<-stalled
	resp := must(app.Do(l.request("GET", l.plain()+"/", "docs/crm", nil)))
	text := string(must(io.ReadAll(resp.Body)))
	resp.Body.Close()
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "1" || !strings.Contains(text, "to this destination") {
		t.Errorf("a third one: %d %s", resp.StatusCode, text)
	}
	resp = must(app.Do(l.request("GET", other.plain()+"/", "docs/other", nil)))
	resp.Body.Close()
	if resp.StatusCode == 429 { // its certificate is not trusted here: it was let through the gate, and no further
		t.Error("another destination is held up", resp.StatusCode)
	}
	giveUp()
	waiting.Wait()
	l.events(4)
	if a, b := l.under(); a != 0 || b != 0 {
		t.Errorf("%d and %d are under way", a, b)
	}
}

// An answer that is cut short panics its way out of the handler, and gives its place back all the same. So does a refusal after the intent.
func TestAPlaceIsGivenBackHoweverTheRequestEnds(t *testing.T) {
	l := limitedLab(t, keybearer.Limits{Concurrency: 1}, 1)
	l.oneOne()
	l.credential("crm", l.bearer(), "s3cret-token")
	l.handle = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "short")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	app := l.client(l.serve(Route{}))
	for i := range 5 {
		resp := must(app.Do(l.request("GET", l.plain()+"/", "docs/crm", nil)))
		if resp.StatusCode != 200 {
			t.Fatal(i, resp.StatusCode)
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Fatal("the answer is whole")
		}
		resp.Body.Close()
		l.events(i + 1)
	}
	// A secret that does not open is refused after the intent.
	torn := l.credential("torn", l.bearer(), "s3cret-token")
	l.update(torn, func(c *keybearer.Credential) { c.Current.Sealed[len(c.Current.Sealed)-1] ^= 1 })
	for range 3 {
		if _, err := l.proxy.Gate().Admit(t.Context(), l.call("docs/torn")); err == nil || err.Code != keybearer.KeyringUnavailable {
			t.Fatal(err)
		}
	}
	if a, b := l.under(); a != 0 || b != 0 {
		t.Errorf("%d and %d are under way", a, b)
	}
}

// The race: many enter, leave and are swept at the same time. There are never more under way than may be, never less than none, and in the end none.
func TestWhatIsUnderWayIsCountedExactly(t *testing.T) {
	const most, workers, rounds = 7, 16, 400
	l := newLimits(keybearer.Limits{Rate: keybearer.Unlimited, Concurrency: most}, most)
	caller := &keybearer.Caller{ID: "cal_a"}
	var under, highest atomic.Int64
	stop := make(chan struct{})
	var sweeper, all sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				l.sweep(time.Now())
			}
		}
	})
	var in atomic.Int64
	for w := range workers {
		all.Go(func() {
			d := policy.Destination{Scheme: "https", Host: "a.example.com", Port: 443}
			for i := range rounds {
				var p place
				if err := l.enter(&p, caller, "scp_a", &d, time.Now()); err != nil {
					p.leave() // as Admit does
					continue
				}
				in.Add(1)
				n := under.Add(1)
				for h := highest.Load(); n > h && !highest.CompareAndSwap(h, n); h = highest.Load() {
				}
				if (w+i)%3 == 0 { // judged again, and found to go elsewhere
					d.Port = 444 - d.Port%2
					_ = l.enter(&p, caller, "scp_a", &d, time.Now())
				}
				under.Add(-1)
				p.leave()
				p.leave() // is nothing
			}
		})
	}
	all.Wait()
	close(stop)
	sweeper.Wait()
	if highest.Load() > most || in.Load() == 0 {
		t.Errorf("%d were under way at a time, of %d that entered", highest.Load(), in.Load())
	}
	for key, q := range l.quotas {
		if q.under != 0 {
			t.Errorf("%+v: %d under way in the end", key, q.under)
		}
	}
	l.sweep(time.Now())
	if len(l.quotas) != 0 {
		t.Errorf("%d quotas are kept for nobody", len(l.quotas))
	}
}

// What is not full again is not let go: a caller would get its burst anew.
func TestABucketThatIsNotFullIsKept(t *testing.T) {
	l := newLimits(keybearer.Limits{Rate: 1, Burst: 10}, 0)
	now := time.Now()
	var p place
	if err := l.enter(&p, &keybearer.Caller{ID: "cal_a"}, "scp_a", &policy.Destination{Host: "h", Port: 1}, now); err != nil {
		t.Fatal(err)
	}
	l.sweep(now)
	if len(l.quotas) != 2 {
		t.Error("swept while under way")
	}
	p.leave()
	l.sweep(now)
	if _, kept := l.quotas[quotaKey{caller: "cal_a"}]; !kept || len(l.quotas) != 1 {
		t.Error(l.quotas)
	}
	l.sweep(now.Add(time.Second))
	if len(l.quotas) != 0 {
		t.Error(l.quotas)
	}
}

// A quota that was swept between the look-up and the entry is not entered: the one in its place is.
func TestASweptQuotaIsNotEntered(t *testing.T) {
	old := &quota{gone: true}
	if v, _ := old.enter(keybearer.Limits{}, time.Now()); v != swept || old.under != 0 {
		t.Errorf("%v, %d under way", v, old.under)
	}
	for range 100 {
		enterSwept(t)
	}
}

func enterSwept(t *testing.T) {
	t.Helper()
	l := newLimits(keybearer.Limits{}, 0)
	key := quotaKey{caller: "cal_a"}
	gone := &quota{gone: true}
	l.quotas[key] = gone
	entry := make(chan *quota)
	go func() {
		q, v, _ := l.admit(key, keybearer.Limits{Rate: keybearer.Unlimited}, time.Now())
		if v != entered {
			t.Error(v)
		}
		entry <- q
	}()
	runtime.Gosched()
	l.mu.Lock()
	delete(l.quotas, key)
	l.mu.Unlock()
	if q := <-entry; q == gone || q != l.quotas[key] || q.under != 1 {
		t.Errorf("entered %+v, and %+v is there", q, l.quotas[key])
	}
}

// A pass that is found to go elsewhere when it is judged again leaves the place that it had; one that goes where it went keeps it.
func TestAPassThatGoesElsewhereTakesItsPlaceAlong(t *testing.T) {
	l := newLimits(keybearer.Limits{Rate: 0.01, Burst: 1, Concurrency: 1}, 1)
	caller, now := &keybearer.Caller{ID: "cal_a"}, time.Now()
	var p place
	for _, port := range []uint16{443, 443, 80, 443, 443} {
		if err := l.enter(&p, caller, "scp_a", &policy.Destination{Host: "h", Port: port}, now); err != nil {
			t.Fatal(port, err)
		}
		for key, q := range l.quotas {
			want := 0
			if key.caller != "" || key.port == port {
				want = 1
			}
			if q.under != want {
				t.Errorf("at port %d, %+v has %d under way", port, key, q.under)
			}
		}
	}
	// Where it would go there is no place: it is refused, and keeps what it has until it leaves.
	var other place
	if err := l.enter(&other, &keybearer.Caller{ID: "cal_b"}, "scp_a", &policy.Destination{Host: "h", Port: 80}, now); err != nil {
		t.Fatal(err)
	}
	if err := l.enter(&p, caller, "scp_a", &policy.Destination{Host: "h", Port: 80}, now); err == nil || err.Code != keybearer.RateLimited {
		t.Error(err)
	}
	p.leave()
	other.leave()
	for key, q := range l.quotas {
		if q.under != 0 {
			t.Errorf("%+v has %d under way", key, q.under)
		}
	}
}
