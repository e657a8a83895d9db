package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// selection says which events are asked for.
type selection struct {
	limit         int
	follow, tried bool
	before, after place     // where in the log
	since, until  time.Time // zero: no bound
	want          keybearer.Event
	credential    string // name or id
	host, text    string // lower case
}

// place is a place in the log: an event, or a moment.
type place struct {
	id string // request id, or "<request id>.<phase>"
	at time.Time
}

func (p place) is(e *keybearer.Event) bool { return p.id != "" && (p.id == e.ID || p.id == Place(e)) }

// selection reads it from the query and the headers.
func (x *exchange) selection(form string) (s selection, err error) {
	v := x.query
	fail := func(detail string) (selection, error) { return s, keybearer.NewError(keybearer.Invalid, detail) }
	if s.limit, err = limit(v); err != nil {
		return s, err
	}
	if s.follow, err = flag(v, "follow"); err != nil {
		return s, err
	}
	if s.tried, err = flag(v, "would_refuse"); err != nil {
		return s, err
	}
	if s.since, err = moment(v, "since", time.Time{}); err != nil {
		return s, err
	}
	if s.until, err = moment(v, "until", time.Time{}); err != nil {
		return s, err
	}
	if v.Has("before") {
		s.before.id = v.Get("before")
		if t, err := time.Parse(time.RFC3339, s.before.id); err == nil {
			s.before = place{at: t}
		} else if s.before.id == "" {
			return fail("before is a place in the log or an RFC 3339 time")
		}
	}
	if form == eventStream {
		s.after.id = x.Request.Header.Get("Last-Event-ID")
	}
	if s.follow && (form == eventTable || v.Has("before") || v.Has("until")) {
		return fail("what is followed has no end, and no form of a table")
	}
	s.want = keybearer.Event{
		Scope: v.Get("scope"), Caller: v.Get("caller"), ActingUser: v.Get("user"), Operator: v.Get("operator"), ID: v.Get("id"), Kind: keybearer.EventKind(v.Get("event")),
		Action: v.Get("action"), Decision: v.Get("decision"), Code: keybearer.Code(v.Get("code")),
	}
	s.credential, s.host, s.text = v.Get("credential"), strings.ToLower(v.Get("host")), strings.ToLower(v.Get("q"))
	if scope, name, both := strings.Cut(s.credential, "/"); both {
		if s.want.Scope != "" && s.want.Scope != scope {
			return fail("scope and credential name different scopes")
		}
		s.want.Scope, s.credential = scope, name
	}
	switch {
	case !slices.Contains([]keybearer.EventKind{"", keybearer.UseEvent, keybearer.RefusalEvent, keybearer.ChangeEvent}, s.want.Kind):
		return fail("an event is use, refusal or change")
	case !slices.Contains([]string{"", keybearer.Allow, keybearer.Refuse}, s.want.Decision):
		return fail("a decision is allow or refuse")
	case s.want.Code != "" && s.want.Code.Info().Code != s.want.Code:
		return fail("the code is not one of the table of errors")
	}
	return s, nil
}

// keeps reports whether the event is asked for, wherever it stands.
func (s *selection) keeps(e *keybearer.Event) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	w := &s.want
	return is(w.Scope, e.Scope) && is(w.Caller, e.Caller) && is(w.ActingUser, e.ActingUser) && is(w.Operator, e.Operator) && is(w.ID, e.ID) &&
		is(string(w.Kind), string(e.Kind)) && is(w.Action, e.Action) && is(w.Decision, e.Decision) && is(string(w.Code), string(e.Code)) &&
		(is(s.credential, e.Credential) || s.credential == e.CredentialID) && is(s.host, strings.ToLower(e.Host)) && (!s.tried || e.WouldRefuse != "") &&
		(s.since.IsZero() || !e.Time.Before(s.since)) && (s.until.IsZero() || e.Time.Before(s.until)) && (s.before.at.IsZero() || e.Time.Before(s.before.at)) &&
		s.mentions(e)
}

// mentions reports whether the text stands in the event.
func (s *selection) mentions(e *keybearer.Event) bool {
	if s.text == "" {
		return true
	}
	for _, field := range []string{
		e.Scope, e.Credential, e.Caller, e.ActingUser, e.Operator, e.Host, e.Path, e.Method, e.Rule, e.Action, string(e.Code), string(e.WouldRefuse), e.ID,
	} {
		if strings.Contains(strings.ToLower(field), s.text) {
			return true
		}
	}
	return slices.ContainsFunc(e.Changed, func(f string) bool { return strings.Contains(strings.ToLower(f), s.text) })
}

// tooOld is after how many events in a row from before since no newer one is looked for. Events stand in the order in which they were written, which is
// nearly that of their times.
const tooOld = 1000

// read returns the newest events that are asked for, oldest first. gap says that some after the place where they were to begin are not among them.
func (s *selection) read(ctx context.Context, log AuditLog, keep func(*keybearer.Event) bool) (events []keybearer.Event, gap bool, err error) {
	behind := s.before.id != "" // what is newer than the place is passed over
	met, older := s.after.id == "", 0
	err = log.Backwards(ctx, func(e *keybearer.Event) bool {
		switch {
		case behind:
			behind = !s.before.is(e)
			return true
		case s.after.is(e):
			met = true
			return false
		case len(events) == s.limit:
			return false
		}
		if older++; s.since.IsZero() || !e.Time.Before(s.since) {
			older = 0
		}
		if keep(e) {
			events = append(events, *e)
		}
		return (len(events) < s.limit || !met) && older < tooOld
	})
	if keybearer.CodeOf(err) == keybearer.NotFound { // no file yet: no events yet
		err = nil
	}
	slices.Reverse(events)
	return events, !met, err
}
