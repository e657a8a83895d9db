package admin

import (
	"context"
	"iter"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
)

// The forms in which events are answered.
const (
	eventLines  = "application/jsonl"
	eventStream = "text/event-stream"
	eventTable  = "text/csv"
)

var auditOperations = []operation{{
	Method: http.MethodGet, Path: "/api/v1/audit", ID: "readAudit", Summary: "Read the audit log, and follow it",
	Needs: "scope-admin of a scope, whose events are shown; instance-admin sees all",
	Query: []parameter{
		limitParameter("newest so many events, oldest of them first"),
		{Name: "follow", Description: "go on with new events until the connection ends", Type: reflect.TypeFor[bool]()},
		{Name: "before", Description: "events before this one in the log: the place of an event, as the id of server-sent events gives it (<request id>.<phase>), a request id, or a time", Type: reflect.TypeFor[string]()},
		{Name: "since", Description: "events of this time and later", Type: reflect.TypeFor[time.Time]()},
		{Name: "until", Description: "events before this time", Type: reflect.TypeFor[time.Time]()},
		{Name: "q", Description: "text in a name, host, path, rule, action or code, whatever its case", Type: reflect.TypeFor[string]()},
		{Name: "scope", Description: "name of the scope", Type: reflect.TypeFor[string]()},
		{Name: "credential", Description: "name or id of the credential, or <scope>/<name>", Type: reflect.TypeFor[string]()},
		{Name: "caller", Description: "name of the caller", Type: reflect.TypeFor[string]()},
		{Name: "user", Description: "id of the acting user", Type: reflect.TypeFor[string]()},
		{Name: "operator", Description: "id of the operator", Type: reflect.TypeFor[string]()},
		{Name: "host", Description: "host of the destination", Type: reflect.TypeFor[string]()},
		{Name: "id", Description: "request id", Type: reflect.TypeFor[string]()},
		{Name: "event", Description: "kind of event", Type: reflect.TypeFor[keybearer.EventKind]()},
		{Name: "action", Description: "of a change", Type: reflect.TypeFor[string]()},
		{Name: "decision", Description: "what was decided", Type: reflect.TypeFor[decision]()},
		{Name: "code", Description: "why it was refused or failed", Type: reflect.TypeFor[keybearer.Code]()},
		{Name: "would_refuse", Description: "only what rules on trial would have refused", Type: reflect.TypeFor[bool]()},
	},
	Header: []parameter{{Name: "Last-Event-ID", Description: "server-sent events only: begin behind the event with this id", Type: reflect.TypeFor[string]()}},
	Takes:  bare(readAudit), Answer: reflect.TypeFor[keybearer.Event](), Media: []string{eventLines, eventStream, eventTable},
	Codes: []keybearer.Code{keybearer.AuditUnavailable},
}}

// decision is [keybearer.Allow] or [keybearer.Refuse].
type decision string

// readAudit answers with events in the form that Accept asks for. Following begins where the tail ends, without a gap.
func readAudit(x *exchange) (*reply, error) {
	accept, form := x.Request.Header.Get("Accept"), eventLines
	for _, other := range []string{eventStream, eventTable} {
		if strings.Contains(accept, other) {
			form = other
		}
	}
	s, err := audit.ParseSelection(x.query)
	if err != nil {
		return nil, err
	}
	follow, err := flag(x.query, "follow")
	if err != nil {
		return nil, err
	}
	if follow && (form == eventTable || x.query.Has("before") || x.query.Has("until")) {
		return nil, keybearer.NewError(keybearer.Invalid, "what is followed has no end, and no form of a table")
	}
	if form == eventStream {
		s.After.ID = x.Request.Header.Get("Last-Event-ID")
	}
	may, err := x.custody.AuditFilter(x.Context(), x.ask)
	if err != nil {
		return nil, err
	}
	if x.audit == nil {
		return nil, keybearer.NewError(keybearer.AuditUnavailable, "the audit log cannot be read back here")
	}
	keep := func(e *keybearer.Event) bool { return may(e) && s.Keeps(e) }
	ctx, cancel := context.WithCancel(x.Context())
	defer cancel()
	var next iter.Seq[keybearer.Event]
	if follow {
		next = x.audit.Subscribe(ctx, keep)
	}
	events, gap, err := s.Read(ctx, x.audit, may)
	if err != nil {
		if next != nil {
			cancel()
			for range next { // ends at once
			}
		}
		return nil, err
	}
	ew := newEventWriter(x.w, form)
	if gap {
		ew.gap()
	}
	ew.stream(events, next, func() (func(*keybearer.Event) bool, error) {
		if err := x.again(); err != nil {
			return nil, err
		}
		return x.custody.AuditFilter(ctx, x.ask)
	})
	return nil, nil
}
