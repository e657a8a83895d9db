package admin_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/custody"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// logged writes events into the log: uses with intent and outcome, refusals, and what put makes of them.
func (l *lab) logged(n int, put func(i int, e *keybearer.Event)) {
	l.t.Helper()
	for i := range n {
		e := keybearer.Event{
			Time: noon.Add(time.Duration(i) * time.Minute), ID: fmt.Sprintf("req_%04d", i), Phase: keybearer.Intent, Kind: keybearer.UseEvent, Scope: "docs", Credential: "crm",
			Caller: "app", Method: "GET", Scheme: "https", Host: "api.example.com", Port: 443, Path: "/v1", Decision: keybearer.Allow,
		}
		phases := []keybearer.Phase{keybearer.Intent, keybearer.Outcome}
		if i%3 == 2 {
			e.Kind, e.Decision, e.Code = keybearer.RefusalEvent, keybearer.Refuse, keybearer.DestinationNotAllowed
			phases = phases[1:]
		}
		for _, e.Phase = range phases {
			if put != nil {
				put(i, &e)
			}
			if err := l.log.Record(l.t.Context(), &e); err != nil {
				l.t.Fatal(err)
			}
		}
	}
}

// events asks through the client.
func (l *lab) events(q admin.AuditQuery) (out []keybearer.Event) {
	l.t.Helper()
	for e, err := range l.Audit(l.t.Context(), q) {
		if err != nil {
			l.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func places(events []keybearer.Event) (out []string) {
	for i := range events {
		out = append(out, audit.PlaceOf(&events[i]))
	}
	return out
}

// Paging back by place gives every event once, in order, whatever the size of a page and while new ones are written.
func TestTheAuditLogPagesBack(t *testing.T) {
	l := newLab(t)
	l.logged(40, nil)
	all, later := places(l.events(admin.AuditQuery{Scope: "docs", Limit: 1000})), 0
	if len(all) != 67 {
		t.Fatalf("%d events", len(all))
	}
	for _, limit := range []int{1, 7, 66, 67, 1000} {
		var got []string
		q := admin.AuditQuery{Scope: "docs", Limit: limit}
		for range 200 {
			page := l.events(q)
			if len(page) == 0 {
				break
			}
			got = append(places(page), got...)
			q.Before = audit.PlaceOf(&page[0])
			later++
			l.logged(1, func(_ int, e *keybearer.Event) { e.ID, e.Time = fmt.Sprint("later_", later), noon.Add(1000*time.Hour) })
		}
		got = slices.DeleteFunc(got, func(place string) bool { return strings.HasPrefix(place, "later") })
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("%d at a time (-want +got):\n%s", limit, diff)
		}
	}
	// A request id alone, and a time.
	if got := places(l.events(admin.AuditQuery{Scope: "docs", Before: "req_0010", Limit: 2})); fmt.Sprint(got) != "[req_0009.outcome req_0010.intent]" {
		t.Error(got)
	}
	if got := places(l.events(admin.AuditQuery{Scope: "docs", Before: noon.Add(10 * time.Minute).Format(time.RFC3339), Limit: 2})); fmt.Sprint(got) != "[req_0009.intent req_0009.outcome]" {
		t.Error(got)
	}
	if got := l.events(admin.AuditQuery{Before: "req_nonsense"}); len(got) != 0 {
		t.Error(got)
	}
}

func TestTheAuditLogIsFiltered(t *testing.T) {
	l := newLab(t)
	l.logged(9, func(i int, e *keybearer.Event) {
		switch i {
		case 0:
			e.ActingUser, e.Host = "ann", "Other.example.com"
		case 1:
			e.Kind, e.Operator, e.Action, e.Changed, e.Caller = keybearer.ChangeEvent, "ada", "credential.edit", []string{"description"}, ""
		case 3:
			e.Scope, e.CredentialID, e.Caller, e.WouldRefuse = "ops", "crd_x", "mail", keybearer.MethodNotAllowed
		}
	})
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	for _, tc := range []struct {
		q    admin.AuditQuery
		want string
	}{
		{admin.AuditQuery{User: "ann"}, "[0 0]"},
		{admin.AuditQuery{Host: "other.EXAMPLE.com"}, "[0 0]"},
		{admin.AuditQuery{Operator: "ada"}, "[1 1]"},
		{admin.AuditQuery{Action: "credential.edit"}, "[1 1]"},
		{admin.AuditQuery{Kind: keybearer.ChangeEvent, Operator: "ada"}, "[1 1]"},
		{admin.AuditQuery{Text: "DESCRIP"}, "[1 1]"},
		{admin.AuditQuery{Text: "other.ex"}, "[0 0]"},
		{admin.AuditQuery{Text: "not_allow"}, "[2 3 3 5 8]"},
		{admin.AuditQuery{Decision: keybearer.Refuse}, "[2 5 8]"},
		{admin.AuditQuery{Code: keybearer.DestinationNotAllowed}, "[2 5 8]"},
		{admin.AuditQuery{Kind: keybearer.RefusalEvent, Limit: 2}, "[5 8]"},
		{admin.AuditQuery{Scope: "ops"}, "[3 3]"},
		{admin.AuditQuery{Credential: "ops/crm"}, "[3 3]"},
		{admin.AuditQuery{Credential: "crd_x"}, "[3 3]"},
		{admin.AuditQuery{Caller: "mail"}, "[3 3]"},
		{admin.AuditQuery{WouldRefuse: true}, "[3 3]"},
		{admin.AuditQuery{ID: "req_0004"}, "[4 4]"},
		{admin.AuditQuery{Scope: "docs", Since: minute(7)}, "[7 7 8]"},
		{admin.AuditQuery{Scope: "docs", Until: minute(1)}, "[0 0]"},
		{admin.AuditQuery{Scope: "docs", Since: minute(4), Until: minute(6)}, "[4 4 5]"},
		{admin.AuditQuery{Scope: "docs", Since: minute(4), Caller: "mail"}, "[]"},
	} {
		var got []int
		for _, e := range l.events(tc.q) {
			var n int
			if _, err := fmt.Sscanf(e.ID, "req_%d", &n); err != nil {
				t.Fatal(err)
			}
			got = append(got, n)
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%+v: %v, want %s", tc.q, got, tc.want)
		}
	}
	for _, bad := range []string{
		"event=uses", "decision=maybe", "code=nonsense", "since=yesterday", "until=1", "follow=true&before=req_1", "follow=true&until=2026-01-01T00:00:00Z",
		"scope=a&credential=b/c", "q=1&q=2",
	} {
		if p := problem(t, do(l.peers, "GET", "/api/v1/audit?"+bad, "")); p.Code != keybearer.Invalid {
			t.Errorf("%s: %s", bad, p.Code)
		}
	}
	if p := problem(t, do(l.peers, "GET", "/api/v1/audit?follow=true", "", "Accept", "text/csv")); p.Code != keybearer.Invalid {
		t.Error(p)
	}
}

// Who follows begins behind the event that they had last, or is told that something is missing.
func TestServerSentEventsResume(t *testing.T) {
	l := newLab(t)
	l.logged(30, nil)
	get := func(last, query string) string {
		t.Helper()
		res := do(l.peers, "GET", "/api/v1/audit?scope=docs&"+query, "", "Accept", "text/event-stream", "Last-Event-ID", last)
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res.Status, err, string(body))
		}
		var heads []string
		for block := range strings.SplitSeq(strings.TrimSuffix(string(body), "\n\n"), "\n\n") {
			head, data, ok := strings.Cut(block, "\ndata: ")
			if block == "" {
				continue
			}
			if !ok || !json.Valid([]byte(data)) {
				t.Fatalf("%q", block)
			}
			heads = append(heads, strings.ReplaceAll(head, "\n", " "))
		}
		return strings.Join(heads, ", ")
	}
	for _, tc := range []struct{ last, query, want string }{
		{"req_0028.outcome", "", "id: req_0029.outcome event: refusal"},
		{"req_0028.intent", "", "id: req_0028.outcome event: use, id: req_0029.outcome event: refusal"},
		{"req_0029.outcome", "", ""},
		{"req_0028.intent", "event=use", "id: req_0028.outcome event: use"},
		{"req_0000.intent", "limit=1", "event: gap, id: req_0029.outcome event: refusal"},
		{"req_gone.outcome", "limit=1", "event: gap, id: req_0029.outcome event: refusal"},
		{"", "limit=1", "id: req_0029.outcome event: refusal"},
	} {
		if got := get(tc.last, tc.query); got != tc.want {
			t.Errorf("%s %s: %s, want %s", tc.last, tc.query, got, tc.want)
		}
	}
}

func TestTheAuditLogAsATable(t *testing.T) {
	l := newLab(t)
	nasty := []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", `a","b`, "a\nb", "plain", ""}
	l.logged(len(nasty), func(i int, e *keybearer.Event) {
		e.Path, e.Changed = nasty[i], []string{"a", "b"}
		e.SecretVersion, e.DurationMS, e.BytesOut, e.DestinationStatus = 3, 1.25, 1<<40, 200
	})
	res := do(l.peers, "GET", "/api/v1/audit?scope=docs", "", "Accept", "text/csv")
	if res.Header.Get("Content-Type") != "text/csv; charset=utf-8; header=present" || !strings.Contains(res.Header.Get("Content-Disposition"), "attachment") {
		t.Fatal(res.Header)
	}
	rows, err := csv.NewReader(res.Body).ReadAll()
	if err != nil || len(rows) < len(nasty)+1 {
		t.Fatal(len(rows), err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	for _, row := range rows[1:] {
		var n int
		if _, err := fmt.Sscanf(row[column("id")], "req_%d", &n); err != nil {
			t.Fatal(err)
		}
		want := nasty[n]
		if n < 7 {
			want = "'" + want
		}
		if got := row[column("path")]; got != want && got != strings.ReplaceAll(want, "\r", "") {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
		for name, want := range map[string]string{"changed": "a b", "secret_version": "3", "duration_ms": "1.25", "bytes_out": "1099511627776", "destination_status": "200", "port": "443", "bytes_in": "", "host": "api.example.com"} {
			if got := row[column(name)]; got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				t.Errorf("a spreadsheet would run %q", cell)
			}
		}
	}
	// Every field of an event has its column, in the same order.
	full, _ := json.Marshal(keybearer.Event{
		Time: noon, ID: "x", Phase: "x", Kind: "x", Scope: "x", Credential: "x", CredentialID: "x", SecretVersion: 1, Caller: "x", TokenID: "x", ActingUser: "x", Operator: "x",
		Method: "x", Scheme: "x", Host: "x", Port: 1, Path: "x", Decision: "x", Code: "x", Rule: "x", WouldRefuse: "x", Trial: "x", DestinationStatus: 1, DurationMS: 1,
		BytesOut: 1, BytesIn: 1, Action: "x", Changed: []string{"x"},
	})
	d := json.NewDecoder(strings.NewReader(string(full)))
	var names []string
	depth := 0
	for key := true; ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		switch token {
		case json.Delim('{'):
			continue
		case json.Delim('['), json.Delim(']'):
			depth = 1 - depth
			key = depth == 0
			continue
		case json.Delim('}'):
			continue
		}
		if depth == 0 {
			if key {
				names = append(names, token.(string))
			}
			key = !key
		}
	}
	if diff := cmp.Diff(names, rows[0]); diff != "" {
		t.Error(diff)
	}
}

// quiet is a log without events.
type quiet struct{}

func (quiet) Backwards(context.Context, func(*keybearer.Event) bool) error { return nil }

func (quiet) Subscribe(ctx context.Context, _ func(*keybearer.Event) bool) iter.Seq[keybearer.Event] {
	return func(func(keybearer.Event) bool) { <-ctx.Done() }
}

// recorder is a response writer whose content can be looked at while it is written.
type recorder struct {
	mu sync.Mutex
	httptest.ResponseRecorder
	text strings.Builder
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *recorder) written() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// While nothing happens, a followed log sends what means nothing, so that nobody in between takes the connection for dead.
func TestAFollowedLogStaysAlive(t *testing.T) {
	for form, nothing := range map[string]string{"text/event-stream": ":\n\n", "application/jsonl": "\n"} {
		l := newLab(t)
		synctest.Test(t, func(t *testing.T) {
			h := admin.New(admin.Config{Custody: l.custody, Audit: quiet{}, Authenticate: func(*http.Request) (custody.Actor, error) {
				return custody.Actor{Subject: "user:root", Roles: []string{keybearer.RoleInstanceAdmin}}, nil
			}})
			ctx, cancel := context.WithCancel(t.Context())
			r := httptest.NewRequestWithContext(ctx, "GET", "/api/v1/audit?follow=true", nil)
			r.Header.Set("Accept", form)
			w := &recorder{ResponseRecorder: *httptest.NewRecorder()}
			done := make(chan struct{})
			go func() {
				defer close(done)
				h.ServeHTTP(w, r)
			}()
			time.Sleep(46 * time.Second)
			synctest.Wait()
			if got := w.written(); got != strings.Repeat(nothing, 3) {
				t.Errorf("%s: %q", form, got)
			}
			cancel()
			<-done
		})
	}
}

// Who may not read the log any more does not go on following it.
func TestAFollowedLogEndsWithTheRightToReadIt(t *testing.T) {
	for name, end := range map[string]func(*lab) error{
		"the role is taken": func(l *lab) error {
			_, err := l.custody.EditOperator(t.Context(), custody.Ask{Actor: boss}, "ann", nil, nil, &[]string{})
			return err
		},
		"the token is revoked": func(l *lab) error {
			_, err := l.custody.RevokeOperatorToken(t.Context(), custody.Ask{Actor: boss}, "ann", "")
			return err
		},
	} {
		for _, form := range []string{"text/event-stream", "application/jsonl"} {
			t.Run(name+", "+form, func(t *testing.T) {
				t.Parallel()
				l := newLab(t)
				_, token, err := l.custody.CreateOperator(t.Context(), custody.Ask{Actor: boss}, custody.NewOperator{Name: "ann", Roles: []string{keybearer.RoleInstanceAdmin}})
				if err != nil {
					t.Fatal(err)
				}
				r, err := http.NewRequestWithContext(t.Context(), "GET", l.tcp.URL+"/api/v1/audit?follow=true", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Accept", form)
				r.Header.Set("Authorization", "Bearer "+token.Reveal())
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil || resp.StatusCode != http.StatusOK {
					t.Fatal(resp.Status, err)
				}
				if err := end(l); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadAll(resp.Body); err != nil { // ends
					t.Fatal(err)
				}
			})
		}
	}
}

var boss = custody.Actor{Subject: "user:boss", Roles: []string{keybearer.RoleInstanceAdmin}}
