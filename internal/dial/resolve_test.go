package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// clock is moved by hand.
type clock struct{ since atomic.Int64 }

func (c *clock) now() time.Time           { return time.Unix(1_800_000_000, c.since.Load()) }
func (c *clock) advance(by time.Duration) { c.since.Add(int64(by)) }

// newDialer asks the server, or nobody when it is nil, by a clock moved by hand.
func newDialer(s *nameServer, c Config) (*Dialer, *clock) {
	if s != nil {
		c.Resolver = s.address()
	}
	d, at := New(c), &clock{}
	d.now = at.now
	return d, at
}

func name(host string) policy.Destination {
	addr, _ := netip.ParseAddr(host)
	return policy.Destination{Scheme: "https", Host: host, Addr: addr, Port: 443}
}

// wantCode also checks that whoever gets the error learns no address.
func wantCode(t *testing.T, err error, code keybearer.Code) {
	t.Helper()
	e := keybearer.AsError(err)
	if e == nil || e.Code != code {
		t.Errorf("%v, want %s", err, code)
	} else if regexp.MustCompile(`\d+\.\d+|::|test`).MatchString(e.Message() + e.Advice()) {
		t.Errorf("the error names an address or a host: %s (%s)", e.Message(), e.Advice())
	}
}

func TestResolveJudgesAllAnswers(t *testing.T) {
	s := serveNames(t)
	d, _ := newDialer(s, Config{AllowPrivate: prefixes("10.20.0.0/16", "fd00:20::/32")})
	for host, c := range map[string]struct {
		answers []string
		reach   policy.Reach
		list    []string
	}{
		"public.test":         {[]string{"1.1.1.1", "2606:4700::1"}, policy.Public, []string{"1.1.1.1", "2606:4700::1"}},
		"listed.test":         {[]string{"10.20.0.1", "10.20.0.2", "fd00:20::1"}, policy.Listed, []string{"10.20.0.1", "10.20.0.2", "fd00:20::1"}},
		"mapped.test":         {[]string{"::ffff:1.1.1.1"}, policy.Public, []string{"1.1.1.1"}},
		"twice.test":          {[]string{"1.1.1.1", "1.1.1.1", "::ffff:1.1.1.1"}, policy.Public, []string{"1.1.1.1"}},
		"loopback.test":       {[]string{"127.0.0.1"}, policy.Denied, nil},
		"mapped-inside.test":  {[]string{"::ffff:127.0.0.1"}, policy.Denied, nil},
		"one-of-many.test":    {[]string{"1.1.1.1", "1.1.1.2", "1.1.1.3", "127.0.0.1"}, policy.Denied, nil},
		"other-family.test":   {[]string{"1.1.1.1", "fd00::1"}, policy.Denied, nil},
		"mixed.test":          {[]string{"1.1.1.1", "10.20.0.1"}, policy.Denied, nil},
		"mixed-families.test": {[]string{"10.20.0.1", "2606:4700::1"}, policy.Denied, nil},
		"metadata.test":       {[]string{"169.254.169.254"}, policy.Denied, nil},
		"after-the-8th.test":  {[]string{"1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5", "1.1.1.6", "1.1.1.7", "1.1.1.8", "1.1.1.9", "10.0.0.1"}, policy.Denied, nil},
		"1.1.1.1":             {nil, policy.Public, []string{"1.1.1.1"}},
		"10.20.3.4":           {nil, policy.Listed, []string{"10.20.3.4"}},
		"127.0.0.1":           {nil, policy.Denied, nil},
		"2606:4700::1":        {nil, policy.Public, []string{"2606:4700::1"}},
		"::1":                 {nil, policy.Denied, nil},
		"localhost":           {nil, policy.Denied, nil},
		"app.localhost":       {nil, policy.Denied, nil},
	} {
		t.Run(host, func(t *testing.T) {
			if c.answers != nil {
				s.set(host, c.answers...)
			}
			got, err := d.Resolve(t.Context(), name(host))
			var want []netip.Addr
			for _, a := range c.list {
				want = append(want, netip.MustParseAddr(a))
			}
			sorted := cmpopts.SortSlices(netip.Addr.Less)
			if diff := cmp.Diff(Addresses{want, c.reach}, got, sorted, cmpopts.EquateComparable(netip.Addr{})); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for asked := range s.asked {
		if !strings.HasSuffix(asked, ".test.") || strings.Count(asked, ".") != 2 {
			t.Errorf("the name server was asked for %q", asked)
		}
	}
}

func TestResolveBoundsTheList(t *testing.T) {
	s := serveNames(t)
	var many []string
	for i := range 25 {
		many = append(many, fmt.Sprintf("1.1.1.%d", i))
	}
	s.set("many.test", many...)
	d, _ := newDialer(s, Config{})
	if got, err := d.Resolve(t.Context(), name("many.test")); err != nil || len(got.List) != maxAddresses || got.Reach != policy.Public {
		t.Error(got, err)
	}
}

func TestResolveErrors(t *testing.T) {
	s := serveNames(t)
	s.set("empty.test")
	d, _ := newDialer(s, Config{Timeout: 200 * time.Millisecond})
	for range 2 { // errors are not remembered
		_, err := d.Resolve(t.Context(), name("unknown.test"))
		wantCode(t, err, keybearer.DestinationUnreachable)
		if _, ok := errors.AsType[*net.DNSError](err); !ok {
			t.Errorf("the cause is lost: %v", err)
		}
		_, err = d.Resolve(t.Context(), name("empty.test"))
		wantCode(t, err, keybearer.DestinationUnreachable)
	}
	if n := s.count("unknown.test"); n != 2 {
		t.Errorf("asked %d times", n)
	}
	s.set("unknown.test", "1.1.1.1")
	if got, err := d.Resolve(t.Context(), name("unknown.test")); err != nil || got.Reach != policy.Public {
		t.Error(got, err)
	}
	s.change(func() { s.mute = true })
	began := time.Now()
	_, err := d.Resolve(t.Context(), name("mute.test"))
	wantCode(t, err, keybearer.DestinationTimeout)
	if took := time.Since(began); took > 4*time.Second { // the resolver itself gives up after five
		t.Errorf("the time-out of 200 ms took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.Resolve(ctx, name("mute.test"))
	wantCode(t, err, keybearer.CallerGone)
	ctx, cancel = context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	_, err = d.Resolve(ctx, name("mute.test"))
	wantCode(t, err, keybearer.DestinationTimeout)
}

func TestEachCallerOwnsItsError(t *testing.T) {
	s := serveNames(t)
	hold := make(chan struct{})
	s.change(func() { s.hold = hold })
	d, _ := newDialer(s, Config{})
	got := make(chan error, 2)
	for range cap(got) {
		go func() {
			_, err := d.Resolve(context.Background(), name("unknown.test"))
			got <- keybearer.AsError(err).WithHint("changed")
		}()
	}
	close(hold)
	if a, b := <-got, <-got; a == b {
		t.Error("two callers got the same error value")
	}
}

// waiting is a context that tells when somebody begins to wait for its end.
type waiting struct {
	context.Context
	waits chan<- struct{}
}

func (w waiting) Done() <-chan struct{} {
	w.waits <- struct{}{}
	return w.Context.Done()
}

func TestManyCallersShareOneLookup(t *testing.T) {
	s := serveNames(t)
	s.set("shared.test", "1.1.1.1")
	hold := make(chan struct{})
	s.change(func() { s.hold = hold })
	d, _ := newDialer(s, Config{})

	// The first one leaves; the look-up that it began goes on.
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() { _, err := d.Resolve(ctx, name("shared.test")); first <- err }()
	s.await("shared.test")
	cancel()
	wantCode(t, <-first, keybearer.CallerGone)

	d.mu.Lock()
	under := d.flights["shared.test"]
	d.mu.Unlock()
	const callers = 100
	waits, results := make(chan struct{}), make(chan error, callers)
	for range callers {
		go func() {
			got, err := d.Resolve(waiting{t.Context(), waits}, name("shared.test"))
			if err == nil && got.Reach != policy.Public {
				err = fmt.Errorf("%v", got)
			}
			results <- err
		}()
	}
	for range callers {
		<-waits
	}
	d.mu.Lock()
	if d.flights["shared.test"] != under {
		t.Error("a look-up of its own beside the one under way")
	}
	d.mu.Unlock()
	close(hold)
	for range callers {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := s.count("shared.test"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestAnswersServeForAWhile(t *testing.T) {
	s := serveNames(t)
	s.set("cached.test", "1.1.1.1")
	d, at := newDialer(s, Config{})
	resolve := func() string {
		t.Helper()
		got, err := d.Resolve(t.Context(), name("cached.test"))
		if err != nil || len(got.List) != 1 {
			t.Fatal(got, err)
		}
		return got.List[0].String()
	}
	settled := func() { // waits for the look-up that goes on, if any
		d.mu.Lock()
		f := d.flights["cached.test"]
		d.mu.Unlock()
		if f != nil {
			<-f.done
		}
	}
	resolve()
	s.set("cached.test", "1.1.1.2")
	at.advance(answerFresh - 1)
	got := resolve()
	settled()
	if got != "1.1.1.1" || s.count("cached.test") != 1 {
		t.Errorf("%s, asked %d times", got, s.count("cached.test"))
	}
	at.advance(1) // no longer fresh: serves, and is fetched again beside
	if got := resolve(); got != "1.1.1.1" {
		t.Error(got)
	}
	settled()
	if got := resolve(); got != "1.1.1.2" || s.count("cached.test") != 2 {
		t.Errorf("%s, asked %d times", got, s.count("cached.test"))
	}
	s.set("cached.test", "1.1.1.3")
	at.advance(answerLife) // expired: does not serve
	if got := resolve(); got != "1.1.1.3" || s.count("cached.test") != 3 {
		t.Errorf("%s, asked %d times", got, s.count("cached.test"))
	}
	// A failing name server does not prolong an answer.
	s.change(func() { delete(s.zone, "cached.test") })
	at.advance(answerFresh)
	resolve()
	settled()
	resolve()
	settled()
	at.advance(answerLife - answerFresh)
	_, err := d.Resolve(t.Context(), name("cached.test"))
	wantCode(t, err, keybearer.DestinationUnreachable)
}

func TestAnswersAreBounded(t *testing.T) {
	d, at := newDialer(nil, Config{})
	for i := range 3 * maxAnswers {
		host := netip.AddrFrom4([4]byte{1, 1, byte(i >> 8), byte(i)}).String()
		if got, err := d.Resolve(t.Context(), name(host)); err != nil || got.Reach != policy.Public {
			t.Fatal(got, err)
		}
		if n := len(d.answers); n > maxAnswers {
			t.Fatalf("%d answers", n)
		}
	}
	if n := len(d.answers); n != maxAnswers {
		t.Errorf("%d answers are left of more", n)
	}
	at.advance(answerLife)
	if _, err := d.Resolve(t.Context(), name("1.2.3.4")); err != nil || len(d.answers) != 1 {
		t.Errorf("%d answers after all had expired, %v", len(d.answers), err)
	}
	// Some have expired: the others stay.
	const old = 10
	for i := range maxAnswers {
		if i == old {
			at.advance(answerLife - 1)
		}
		if i == maxAnswers-1 {
			at.advance(1)
		}
		_, _ = d.Resolve(t.Context(), name(netip.AddrFrom4([4]byte{8, 8, byte(i >> 8), byte(i)}).String()))
	}
	if n := len(d.answers); n != maxAnswers-old {
		t.Errorf("%d answers, %d of them not expired", n, maxAnswers-old)
	}
}

func TestResolveDoesNotAllocateOnAHit(t *testing.T) {
	d, _ := newDialer(nil, Config{})
	dst := name("1.1.1.1")
	if n := testing.AllocsPerRun(100, func() {
		if _, err := d.Resolve(t.Context(), dst); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkResolveHit(b *testing.B) {
	d, _ := newDialer(nil, Config{})
	dst := name("1.1.1.1")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Resolve(b.Context(), dst); err != nil {
			b.Fatal(err)
		}
	}
}

// No name server is asked: it could send a rule for localhost elsewhere.
func TestLocalhostIsThisMachine(t *testing.T) {
	s := serveNames(t)
	d, _ := newDialer(s, Config{AllowPrivate: prefixes("127.0.0.0/8", "10.20.0.0/16")})
	for _, host := range []string{"localhost", "app.localhost"} {
		s.set(host, "10.20.0.1")
		got, err := d.Resolve(t.Context(), name(host))
		if err != nil || got.Reach != policy.Listed || len(got.List) != 1 || got.List[0] != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%s: %+v, %v", host, got, err)
		}
	}
}
