package keybearertest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

// TestLedger checks a [keybearer.Ledger] against every sentence of its contract. open returns a new, empty ledger.
func TestLedger(t *testing.T, open func(t *testing.T) keybearer.Ledger) {
	for _, part := range []struct {
		name string
		test func(*testing.T, keybearer.Ledger)
	}{
		{"Empty", testLedgerEmpty},
		{"Checkpoint", testCheckpoint},
		{"Refusals", testRefusals},
		{"OutOfOrder", testOutOfOrder},
		{"Callers", testCallers},
		{"Hours", testHours},
		{"Scopes", testScopes},
		{"RefusalCounts", testRefusalCounts},
		{"UsedSince", testUsedSince},
		{"LastUses", testLastUses},
		{"Trials", testTrials},
		{"Model", testLedgerModel},
		{"Concurrent", testLedgerConcurrent},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

func record(t *testing.T, l keybearer.Ledger, uses ...keybearer.UseRecord) {
	t.Helper()
	if err := l.RecordUses(t.Context(), uses, keybearer.Checkpoint{File: "f", Offset: 1}); err != nil {
		t.Fatal(err)
	}
}

func testLedgerEmpty(t *testing.T, l keybearer.Ledger) {
	if got := must(l.Checkpoint(t.Context()))(t); got != (keybearer.Checkpoint{}) {
		t.Errorf("checkpoint: %+v", got)
	}
	if got := must(l.Usage(t.Context(), "crd_a", "crd_b"))(t); len(got) != 0 {
		t.Errorf("usage: %v", got)
	}
	if got := must(l.Usage(t.Context()))(t); len(got) != 0 {
		t.Errorf("usage of nothing: %v", got)
	}
	if got := must(l.LastUses(t.Context(), "app:billing", "tok_a"))(t); len(got) != 0 {
		t.Errorf("last uses: %v", got)
	}
	if got := must(l.UsageHours(t.Context(), time.Time{}, "", "crd_a"))(t); len(got) != 0 {
		t.Errorf("hours: %v", got)
	}
	if got := must(l.Refusals(t.Context(), time.Time{}, "", "crd_a"))(t); len(got) != 0 {
		t.Errorf("refusals: %v", got)
	}
	if got := must(l.UsedSince(t.Context(), time.Time{}))(t); len(got) != 0 {
		t.Errorf("used: %v", got)
	}
}

// testCheckpoint: it moves with the uses, and without any; backwards and to another file too.
func testCheckpoint(t *testing.T, l keybearer.Ledger) {
	for _, want := range []keybearer.Checkpoint{{File: "first:1/2", Offset: 1 << 40}, {File: "first:1/2", Offset: 7}, {File: "second", Offset: 0}, {}} {
		for _, uses := range [][]keybearer.UseRecord{nil, {{CredentialID: "crd_a", Caller: "billing", At: epoch}}} {
			if err := l.RecordUses(t.Context(), uses, want); err != nil {
				t.Fatal(err)
			}
			if got := must(l.Checkpoint(t.Context()))(t); got != want {
				t.Errorf("checkpoint: got %+v, want %+v", got, want)
			}
		}
	}
	if got := must(l.Usage(t.Context(), "crd_a"))(t)["crd_a"].Count; got != 4 {
		t.Errorf("%d uses, want 4", got)
	}
}

// testRefusals: they count apart and are no last use.
func testRefusals(t *testing.T, l keybearer.Ledger) {
	refusal := keybearer.UseRecord{
		CredentialID: "crd_a", Caller: "spy", User: "eve", Host: "evil.example:443", Code: keybearer.DestinationNotAllowed, Refused: true, At: epoch,
	}
	record(t, l, refusal, refusal)
	want := map[string]keybearer.Usage{"crd_a": {Refused: 2}}
	if diff := gocmp.Diff(want, must(l.Usage(t.Context(), "crd_a"))(t), same); diff != "" {
		t.Errorf("only refusals (-want +got):\n%s", diff)
	}
	use := keybearer.UseRecord{CredentialID: "crd_a", Caller: "billing", User: "ann", Host: "api.example.com:443", Status: 204, At: epoch.Add(-time.Minute)}
	record(t, l, use, refusal)
	record(t, l, refusal)
	want["crd_a"] = keybearer.Usage{
		Count: 1, Refused: 4, LastAt: use.At, LastCaller: "billing", LastUser: "ann", LastHost: use.Host, LastStatus: 204,
		Callers: []keybearer.CallerUsage{{Caller: "billing", Count: 1, LastAt: use.At, Host: use.Host}},
	}
	if diff := gocmp.Diff(want, must(l.Usage(t.Context(), "crd_a"))(t), same); diff != "" {
		t.Errorf("refusals and a use (-want +got):\n%s", diff)
	}
}

// testOutOfOrder: the last use is the newest, in whatever order they are recorded.
func testOutOfOrder(t *testing.T, l keybearer.Ledger) {
	use := func(minute int, caller string, status int) keybearer.UseRecord {
		return keybearer.UseRecord{
			CredentialID: "crd_a", Caller: caller, Host: fmt.Sprintf("h%d:443", minute), Status: status,
			At: epoch.Add(time.Duration(minute)*time.Minute + 5*time.Microsecond),
		}
	}
	record(t, l, use(30, "billing", 200), use(20, "mail", 500))
	record(t, l, use(10, "billing", 404), use(25, "mail", 0))
	got := must(l.Usage(t.Context(), "crd_a"))(t)["crd_a"]
	newest := use(30, "", 0).At
	want := keybearer.Usage{
		Count: 4, LastAt: newest, LastCaller: "billing", LastHost: "h30:443", LastStatus: 200,
		Callers: []keybearer.CallerUsage{
			{Caller: "billing", Count: 2, LastAt: newest, Host: "h30:443"},
			{Caller: "mail", Count: 2, LastAt: use(25, "", 0).At, Host: "h25:443"},
		},
	}
	if diff := gocmp.Diff(want, got, same); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	if got.LastAt.Location() != time.UTC {
		t.Errorf("LastAt is in %v", got.LastAt.Location())
	}
}

// testCallers: the 20 that used it last, newest first.
func testCallers(t *testing.T, l keybearer.Ledger) {
	var uses []keybearer.UseRecord
	for _, i := range rand.Perm(33) {
		at := epoch.Add(time.Duration(i) * time.Second)
		for _, id := range []string{"crd_a", "crd_b"} {
			uses = append(uses, keybearer.UseRecord{CredentialID: id, Caller: fmt.Sprintf("app%d", i), Host: "h:443", Status: 200, At: at})
		}
	}
	record(t, l, uses...)
	for id, u := range must(l.Usage(t.Context(), "crd_a", "crd_b"))(t) {
		if len(u.Callers) != 20 || u.Count != 33 {
			t.Fatalf("%s: %d callers, %d uses", id, len(u.Callers), u.Count)
		}
		for i, c := range u.Callers {
			want := keybearer.CallerUsage{Caller: fmt.Sprintf("app%d", 32-i), Count: 1, LastAt: epoch.Add(time.Duration(32-i) * time.Second), Host: "h:443"}
			if c != want {
				t.Errorf("%s: caller %d: got %+v, want %+v", id, i, c, want)
			}
		}
	}
}

// testHours: buckets of one credential and of all, those since a time, without the empty ones.
func testHours(t *testing.T, l keybearer.Ledger) {
	use := func(id string, at time.Duration, status int, code keybearer.Code, refused bool) keybearer.UseRecord {
		return keybearer.UseRecord{CredentialID: id, Caller: "billing", Status: status, Code: code, Refused: refused, At: epoch.Add(at)}
	}
	zone := time.FixedZone("half an hour off", 30*60)
	elsewhere := use("crd_a", 59*time.Minute, 499, "", false)
	elsewhere.At = elsewhere.At.In(zone)
	record(
		t, l,
		use("crd_a", 0, 200, "", false),
		elsewhere,
		use("crd_a", 60*time.Minute-time.Microsecond, 500, "", false),
		use("crd_a", 3*time.Hour, 0, keybearer.DestinationTimeout, false),
		use("crd_a", 3*time.Hour, 0, keybearer.MethodNotAllowed, true),
		use("crd_b", time.Hour, 200, "", false),
	)
	record(t, l, use("crd_a", 3*time.Hour+time.Minute, 200, "", false))
	hour := func(n int, uses, refused, failed uint64) keybearer.UsageHour {
		return keybearer.UsageHour{Hour: epoch.Add(time.Duration(n) * time.Hour), Uses: uses, Refused: refused, Failed: failed}
	}
	a := []keybearer.UsageHour{hour(0, 3, 0, 1), hour(3, 2, 1, 1)}
	b := []keybearer.UsageHour{hour(1, 1, 0, 0)}
	all := []keybearer.UsageHour{a[0], b[0], a[1]}
	for _, c := range []struct {
		id    string
		since time.Time
		want  []keybearer.UsageHour
	}{
		{"crd_a", time.Time{}, a},
		{"crd_b", time.Time{}, b},
		{"", time.Time{}, all},
		{"", epoch, all},
		{"", epoch.In(zone), all},
		{"", epoch.Add(time.Hour), all[1:]},
		{"crd_a", epoch.Add(time.Hour), a[1:]},
		{"crd_a", epoch.Add(4 * time.Hour), nil},
		{"crd_c", time.Time{}, nil},
	} {
		if diff := gocmp.Diff(c.want, must(l.UsageHours(t.Context(), c.since, c.id))(t)[c.id], same); diff != "" {
			t.Errorf("hours of %q since %v (-want +got):\n%s", c.id, c.since, diff)
		}
	}
}

// testLastUses: the newest of each caller and each token, refusals included, in whatever order they are recorded.
func testLastUses(t *testing.T, l keybearer.Ledger) {
	use := func(minute int, caller, token string, refused bool) keybearer.UseRecord {
		return keybearer.UseRecord{CredentialID: "crd_a", Caller: caller, TokenID: token, Refused: refused, At: epoch.Add(time.Duration(minute) * time.Minute)}
	}
	record(t, l, use(30, "billing", "tok_a", false), use(40, "billing", "tok_b", true), use(20, "mail", "", false), use(50, "", "", true))
	record(t, l, use(10, "billing", "tok_a", false), use(25, "mail", "", true), use(39, "billing", "tok_b", false))
	want := map[string]time.Time{
		"app:billing": epoch.Add(40 * time.Minute), "app:mail": epoch.Add(25 * time.Minute), "tok_a": epoch.Add(30 * time.Minute), "tok_b": epoch.Add(40 * time.Minute),
	}
	ask := []string{"tok_a", "tok_b", "tok_c", "app:billing", "app:mail", "app:nobody", "", "app:"}
	if diff := gocmp.Diff(want, must(l.LastUses(t.Context(), ask...))(t)); diff != "" {
		t.Errorf("last uses (-want +got):\n%s", diff)
	}
	if got := must(l.LastUses(t.Context()))(t); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 600 { // more than one would ask for in a single statement
		ask = append(ask, fmt.Sprintf("tok_%d", i))
	}
	if got := must(l.LastUses(t.Context(), ask...))(t); len(got) != len(want) {
		t.Errorf("of many: %v", got)
	}
}

// testTrials: uses that a trial would have refused count for it, by host and code; refusals and the uses of other trials do not.
func testTrials(t *testing.T, l keybearer.Ledger) {
	use := func(trial, host string, code keybearer.Code, minute int) keybearer.UseRecord {
		return keybearer.UseRecord{
			CredentialID: "crd_a", Caller: "billing", Host: host, Status: 200, At: epoch.Add(time.Duration(minute) * time.Minute), WouldRefuse: code, Trial: trial,
		}
	}
	const no, method = keybearer.DestinationNotAllowed, keybearer.MethodNotAllowed
	refused := use("try_a", "a:443", no, 50)
	refused.Refused = true
	record(t, l, use("try_a", "a:443", no, 3), use("try_a", "b:443", no, 1), use("try_b", "a:443", no, 1), use("", "a:443", "", 1), refused)
	record(t, l, use("try_a", "a:443", no, 2), use("try_a", "a:443", method, 9), use("try_a", "c:443", "", 9), use("try_a", "a:443", no, 1))
	at := func(minute int) time.Time { return epoch.Add(time.Duration(minute) * time.Minute) }
	for id, want := range map[string][]keybearer.TrialUse{
		"try_a": {{Host: "a:443", Code: no, Count: 3, LastAt: at(3)}, {Host: "a:443", Code: method, Count: 1, LastAt: at(9)}, {Host: "b:443", Code: no, Count: 1, LastAt: at(1)}},
		"try_b": {{Host: "a:443", Code: no, Count: 1, LastAt: at(1)}},
		"try_c": nil,
		"":      nil,
	} {
		if diff := gocmp.Diff(want, must(l.Trial(t.Context(), id))(t)); diff != "" {
			t.Errorf("trial %q (-want +got):\n%s", id, diff)
		}
	}
	// An app that thinks of ever more hosts does not fill the ledger; nothing is left uncounted.
	var many []keybearer.UseRecord
	for i := range 1500 {
		many = append(many, use("try_many", fmt.Sprintf("h%d:443", i), no, i))
	}
	record(t, l, many[:700]...)
	record(t, l, many[700:]...)
	sum := uint64(0)
	found := must(l.Trial(t.Context(), "try_many"))(t)
	for _, u := range found {
		sum += u.Count
	}
	if sum != 1500 || len(found) > 1100 || found[0].Host != "" || !found[0].LastAt.Equal(many[1499].At) {
		t.Errorf("%d uses in %d rows, first %+v", sum, len(found), found[0])
	}
}

// testLedgerModel compares 2,000 random uses, recorded in batches, with sums over the list of them.
func testLedgerModel(t *testing.T, l keybearer.Ledger) {
	r := rand.New(rand.NewPCG(1, 2))
	var all []keybearer.UseRecord
	ids := make([]string, 300) // more than one would ask for in a single statement
	for i := range ids {
		ids[i] = fmt.Sprintf("crd_%d", i)
	}
	for len(all) < 2000 {
		var batch []keybearer.UseRecord
		for range r.IntN(60) {
			batch = append(batch, keybearer.UseRecord{
				CredentialID: ids[r.IntN(len(ids)-1)], Caller: fmt.Sprintf("app%d", r.IntN(5)), User: fmt.Sprintf("u%d", r.IntN(3)),
				Host: fmt.Sprintf("h%d:443", r.IntN(9)), Status: []int{0, 200, 404, 503}[r.IntN(4)], Refused: r.IntN(4) == 0,
				At: epoch.Add(time.Duration(len(all)+len(batch))*time.Second + time.Duration(r.IntN(72))*time.Hour),
			})
		}
		all = append(all, batch...)
		record(t, l, batch...)
	}
	want := make(map[string]keybearer.Usage)
	slices.SortStableFunc(all, func(a, b keybearer.UseRecord) int { return a.At.Compare(b.At) })
	hours := make(map[time.Time]keybearer.UsageHour)
	for _, u := range all {
		sum := want[u.CredentialID]
		h := hours[u.At.Truncate(time.Hour)]
		h.Hour = u.At.Truncate(time.Hour)
		if u.Refused {
			sum.Refused++
			h.Refused++
		} else {
			sum.Count++
			h.Uses++
			if u.Status >= 500 {
				h.Failed++
			}
			sum.LastAt, sum.LastCaller, sum.LastUser, sum.LastHost, sum.LastStatus = u.At, u.Caller, u.User, u.Host, u.Status
			i := slices.IndexFunc(sum.Callers, func(c keybearer.CallerUsage) bool { return c.Caller == u.Caller })
			if i < 0 {
				i, sum.Callers = len(sum.Callers), append(sum.Callers, keybearer.CallerUsage{Caller: u.Caller})
			}
			c := &sum.Callers[i]
			c.Count, c.LastAt, c.Host = c.Count+1, u.At, u.Host
		}
		hours[h.Hour] = h
		want[u.CredentialID] = sum
	}
	for _, sum := range want {
		slices.SortFunc(sum.Callers, func(a, b keybearer.CallerUsage) int {
			return cmp.Or(b.LastAt.Compare(a.LastAt), cmp.Compare(a.Caller, b.Caller))
		})
	}
	if diff := gocmp.Diff(want, must(l.Usage(t.Context(), ids...))(t), same); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	var wantHours []keybearer.UsageHour
	for _, h := range hours {
		wantHours = append(wantHours, h)
	}
	slices.SortFunc(wantHours, func(a, b keybearer.UsageHour) int { return a.Hour.Compare(b.Hour) })
	if diff := gocmp.Diff(wantHours, must(l.UsageHours(t.Context(), epoch, ""))(t)[""]); diff != "" {
		t.Errorf("hours of all (-want +got):\n%s", diff)
	}
}

// testLedgerConcurrent: nothing is lost and nothing counts twice.
func testLedgerConcurrent(t *testing.T, l keybearer.Ledger) {
	const workers, rounds = 6, 20
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range rounds {
				use := keybearer.UseRecord{CredentialID: "crd_a", Caller: fmt.Sprintf("app%d", w), Status: 200, At: epoch}
				if err := l.RecordUses(t.Context(), []keybearer.UseRecord{use, use}, keybearer.Checkpoint{}); err != nil {
					t.Error(err)
				}
				if _, err := l.Usage(t.Context(), "crd_a"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	u := must(l.Usage(t.Context(), "crd_a"))(t)["crd_a"]
	if u.Count != 2*workers*rounds || len(u.Callers) != workers || u.Callers[0].Count != 2*rounds {
		t.Errorf("got %+v", u)
	}
}
