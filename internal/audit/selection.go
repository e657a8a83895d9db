package audit

import (
	"context"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// Reader is where events are read back.
type Reader interface {
	// Backwards calls visit with each event from the newest to the oldest, as far back as there are any, until visit returns false.
	Backwards(ctx context.Context, visit func(*keybearer.Event) bool) error
	// Subscribe yields events for which keep is true that are written from now on: the subscription begins with the call, not with the
	// iteration, which must take place. It ends with ctx.
	Subscribe(ctx context.Context, keep func(*keybearer.Event) bool) iter.Seq[keybearer.Event]
}

// Selection says which events are asked for. The zero value asks for all, and for none of them: set Limit.
type Selection struct {
	Limit        int       // at most so many
	Before       Place     // events that stand before it in the log
	After        Place     // events that stand behind it
	Since, Until time.Time // zero: no bound
	Tried        bool      // only what rules on trial would have refused

	want       keybearer.Event
	credential string // name or id
	host, text string // lower case
}

// Selectable are the names of the values that ParseSelection reads.
var Selectable = []string{
	"limit", "before", "since", "until", "q", "scope", "credential", "caller", "user", "operator", "host", "id", "event", "action", "decision", "code", "would_refuse",
}

// Place is a place in the log: an event, or a moment.
type Place struct {
	ID string // request id, or "<request id>.<phase>"
	At time.Time
}

func (p Place) is(e *keybearer.Event) bool { return p.ID != "" && (p.ID == e.ID || p.ID == PlaceOf(e)) }

// PlaceOf is what tells an event apart in the log.
func PlaceOf(e *keybearer.Event) string { return e.ID + "." + string(e.Phase) }

// ParseSelection reads a selection, of 100 events unless it says otherwise. An empty value is none. It returns [keybearer.Invalid], with the field.
func ParseSelection(v url.Values) (s Selection, err error) {
	fail := func(field, detail string) (Selection, error) {
		return s, keybearer.NewError(keybearer.Invalid, detail).In(field)
	}
	s.Limit = 100
	if v.Get("limit") != "" {
		if s.Limit, err = strconv.Atoi(v.Get("limit")); err != nil || s.Limit < 1 || s.Limit > 1000 {
			return fail("limit", "limit is a number from 1 to 1000")
		}
	}
	switch v.Get("would_refuse") {
	case "", "false":
	case "true":
		s.Tried = true
	default:
		return fail("would_refuse", "would_refuse is true or false")
	}
	for name, to := range map[string]*time.Time{"since": &s.Since, "until": &s.Until} {
		if v.Get(name) == "" {
			continue
		}
		if *to, err = time.Parse(time.RFC3339, v.Get(name)); err != nil {
			return fail(name, name+" is an RFC 3339 time")
		}
	}
	s.Before.ID = v.Get("before")
	if t, err := time.Parse(time.RFC3339, s.Before.ID); err == nil {
		s.Before = Place{At: t}
	}
	s.want = keybearer.Event{
		Scope: v.Get("scope"), Caller: strings.TrimPrefix(v.Get("caller"), "app:"), ActingUser: strings.TrimPrefix(v.Get("user"), "user:"),
		Operator: strings.TrimPrefix(v.Get("operator"), "user:"), ID: v.Get("id"), Kind: keybearer.EventKind(v.Get("event")),
		Action: v.Get("action"), Decision: v.Get("decision"), Code: keybearer.Code(v.Get("code")),
	}
	s.credential, s.host, s.text = v.Get("credential"), strings.ToLower(v.Get("host")), strings.ToLower(v.Get("q"))
	if scope, name, both := strings.Cut(s.credential, "/"); both {
		if s.want.Scope != "" && s.want.Scope != scope {
			return fail("credential", "scope and credential name different scopes")
		}
		s.want.Scope, s.credential = scope, name
	}
	switch {
	case !slices.Contains([]keybearer.EventKind{"", keybearer.UseEvent, keybearer.RefusalEvent, keybearer.ChangeEvent}, s.want.Kind):
		return fail("event", "an event is use, refusal or change")
	case !slices.Contains([]string{"", keybearer.Allow, keybearer.Refuse}, s.want.Decision):
		return fail("decision", "a decision is allow or refuse")
	case s.want.Code != "" && s.want.Code.Info().Code != s.want.Code:
		return fail("code", "the code is not one of the table of errors")
	}
	return s, nil
}

// Keeps reports whether the event is asked for, wherever it stands.
func (s *Selection) Keeps(e *keybearer.Event) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	w := &s.want
	return is(w.Scope, e.Scope) && is(w.Caller, e.Caller) && is(w.ActingUser, e.ActingUser) && is(w.Operator, e.Operator) && is(w.ID, e.ID) &&
		is(string(w.Kind), string(e.Kind)) && is(w.Action, e.Action) && is(w.Decision, e.Decision) && is(string(w.Code), string(e.Code)) &&
		(is(s.credential, e.Credential) || s.credential == e.CredentialID) && is(s.host, strings.ToLower(e.Host)) && (!s.Tried || e.WouldRefuse != "") &&
		(s.Since.IsZero() || !e.Time.Before(s.Since)) && (s.Until.IsZero() || e.Time.Before(s.Until)) && (s.Before.At.IsZero() || e.Time.Before(s.Before.At)) &&
		s.mentions(e)
}

// mentions reports whether the text stands in the event.
func (s *Selection) mentions(e *keybearer.Event) bool {
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

// Read returns the newest events that are asked for and for which may is true, oldest first. gap says that some after the place where they were to begin are not among them.
func (s *Selection) Read(ctx context.Context, from Reader, may func(*keybearer.Event) bool) (events []keybearer.Event, gap bool, err error) {
	behind := s.Before.ID != "" // what is newer than the place is passed over
	met, older := s.After.ID == "", 0
	err = from.Backwards(ctx, func(e *keybearer.Event) bool {
		switch {
		case behind:
			behind = !s.Before.is(e)
			return true
		case s.After.is(e):
			met = true
			return false
		case len(events) == s.Limit:
			return false
		}
		if older++; s.Since.IsZero() || !e.Time.Before(s.Since) {
			older = 0
		}
		if may(e) && s.Keeps(e) {
			events = append(events, *e)
		}
		return (len(events) < s.Limit || !met) && older < tooOld
	})
	if keybearer.CodeOf(err) == keybearer.NotFound { // no file yet: no events yet
		err = nil
	}
	slices.Reverse(events)
	return events, !met, err
}
