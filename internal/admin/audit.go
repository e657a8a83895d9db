package admin

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// AuditLog is where events are read back.
type AuditLog interface {
	// Tail returns the last n events for which keep is true, oldest first.
	Tail(ctx context.Context, n int, keep func(*keybearer.Event) bool) ([]keybearer.Event, error)
	// Subscribe yields events for which keep is true that are written from now on: the subscription begins with the call, not with the
	// iteration, which must take place. It ends with ctx.
	Subscribe(ctx context.Context, keep func(*keybearer.Event) bool) iter.Seq[keybearer.Event]
}

// idle is how long a followed log may be silent before something is sent to keep the connection alive.
const idle = 15 * time.Second

// auditLog answers with events: JSON lines, or server-sent events when those are asked for. Following begins where the tail ends, without a gap.
func (h *handler) auditLog(x *exchange) (*reply, error) {
	v, err := x.parameters("limit", "follow", "scope", "credential", "caller", "user", "operator", "host", "q", "id", "event", "action", "code", "would_refuse", "since", "until", "before")
	if err != nil {
		return nil, err
	}
	n, err := limit(v)
	if err != nil {
		return nil, err
	}
	follow, err := flag(v, "follow")
	if err != nil {
		return nil, err
	}
	tried, err := flag(v, "would_refuse")
	if err != nil {
		return nil, err
	}
	since, err := moment(v, "since", time.Time{})
	if err != nil {
		return nil, err
	}
	until, err := moment(v, "until", time.Time{})
	if err != nil {
		return nil, err
	}
	may, err := x.custody.AuditFilter(x.Context(), x.ask)
	if err != nil {
		return nil, err
	}
	if h.audit == nil {
		return nil, keybearer.NewError(keybearer.AuditUnavailable, "the audit log cannot be read back here")
	}
	scope, credential := v.Get("scope"), v.Get("credential")
	if s, c, both := strings.Cut(credential, "/"); both {
		if scope != "" && scope != s {
			return nil, keybearer.NewError(keybearer.Invalid, "scope and credential name different scopes")
		}
		scope, credential = s, c
	}
	is := func(want, have string) bool { return want == "" || want == have }
	behind := v.Get("before") != ""
	keep := func(e *keybearer.Event) bool {
		if behind { // the newest come first
			behind = e.ID+"."+string(e.Phase) != v.Get("before")
			return false
		}
		return may(e) && is(v.Get("user"), e.ActingUser) && is(v.Get("operator"), e.Operator) && is(v.Get("host"), e.Host) && is(v.Get("action"), e.Action) &&
			(since.IsZero() || !e.Time.Before(since)) && (until.IsZero() || e.Time.Before(until)) &&
			strings.Contains(strings.ToLower(strings.Join([]string{e.Scope, e.Credential, e.Caller, e.ActingUser, e.Operator, e.Host, e.Path, e.Rule, e.Action, string(e.Code)}, "\n")), strings.ToLower(v.Get("q"))) &&
			is(scope, e.Scope) && (is(credential, e.Credential) || credential == e.CredentialID) &&
			is(v.Get("caller"), e.Caller) && is(v.Get("id"), e.ID) && is(v.Get("event"), string(e.Kind)) && is(v.Get("code"), string(e.Code)) &&
			(!tried || e.WouldRefuse != "")
	}
	var next iter.Seq[keybearer.Event]
	ctx, cancel := context.WithCancel(x.Context())
	defer cancel()
	if follow {
		next = h.audit.Subscribe(ctx, keep)
	}
	events, err := h.audit.Tail(ctx, n, keep)
	if err != nil && keybearer.CodeOf(err) != keybearer.NotFound { // no file yet: no events yet
		if next != nil {
			cancel()
			for range next { // ends at once
			}
		}
		return nil, err
	}
	newEventWriter(x.w, x.Request).stream(events, next)
	return nil, nil
}

// eventWriter writes events in the form that was asked for.
type eventWriter struct {
	w             http.ResponseWriter
	control       *http.ResponseController
	before, after string // each event
	alive         string
}

func newEventWriter(w http.ResponseWriter, r *http.Request) *eventWriter {
	ew := &eventWriter{w, http.NewResponseController(w), "", "\n", "\n"}
	kind := "application/jsonl"
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		kind, ew.before, ew.after, ew.alive = "text/event-stream", "data: ", "\n\n", ":\n\n"
	}
	w.Header().Set("Content-Type", kind)
	_ = ew.control.SetWriteDeadline(time.Time{}) // following has no end; not every server has deadlines
	return ew
}

func (ew *eventWriter) write(e *keybearer.Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = ew.w.Write(slices.Concat([]byte(ew.before), b, []byte(ew.after)))
	return err
}

// stream writes the events and then, until the client has gone, the next ones, less those that it has written already.
func (ew *eventWriter) stream(events []keybearer.Event, next iter.Seq[keybearer.Event]) {
	type line struct {
		id    string
		phase keybearer.Phase
		kind  keybearer.EventKind
	}
	written := make(map[line]bool, len(events))
	for i := range events {
		written[line{events[i].ID, events[i].Phase, events[i].Kind}] = true
		if ew.write(&events[i]) != nil {
			break
		}
	}
	if next == nil {
		return
	}
	_ = ew.control.Flush()
	pull := make(chan keybearer.Event)
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		defer close(pull)
		for e := range next {
			select {
			case pull <- e:
			case <-gone:
				return
			}
		}
	}()
	timer := time.NewTicker(idle)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-pull:
			if !ok {
				return
			}
			if written[line{e.ID, e.Phase, e.Kind}] {
				continue
			}
			if ew.write(&e) != nil {
				return
			}
		case <-timer.C:
			if _, err := ew.w.Write([]byte(ew.alive)); err != nil {
				return
			}
		}
		if ew.control.Flush() != nil {
			return
		}
	}
}
