package console

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
)

func (c *console) auditRoutes() {
	c.page("GET /audit", (*visit).audit)
	c.page("GET /audit/live", (*visit).auditLive)
	c.page("GET /audit/export", (*visit).auditExport)
}

// auditPage is a stretch of the log, newest first.
type auditPage struct {
	Query  url.Values
	Rows   []auditRow
	Older  string // address of the events before these; "" when there are none
	Live   string // address of the events from now on; "" where the page shows older ones
	Export string // address of the export as JSON lines
	Table  string // and as CSV
	Codes  []keybearer.CodeInfo
	Form   *form
}

// auditRow is one use, refusal or change. A use has one row for its two events.
type auditRow struct {
	keybearer.Event
	Place   string
	Reason  string // in words, of a refusal or failure
	Fix     *Fix
	Pending bool // its outcome is not there yet
}

func newAuditRow(e *keybearer.Event) auditRow {
	row := auditRow{Event: *e, Place: audit.PlaceOf(e), Pending: e.Phase == keybearer.Intent}
	if e.Code != "" {
		row.Reason, row.Fix = sentence(e.Code.Info().Title), fixFor(e)
	}
	if e.Phase == keybearer.Outcome && e.Kind == keybearer.RefusalEvent && e.Action != "" { // an operator's
		row.Reason, row.Fix = "Refused "+e.Action+".", nil
	}
	return row
}

// What says in a word what the row is about.
func (r auditRow) What() badge {
	switch {
	case r.Kind == keybearer.ChangeEvent:
		return badge{"quiet", "change"}
	case r.Kind == keybearer.RefusalEvent:
		return badge{"bad", "refused"}
	case r.Pending:
		return badge{"quiet", "under way"}
	case r.Code != "":
		return badge{"warn", "failed"}
	case r.DestinationStatus >= 400:
		return badge{"warn", number(uint64(r.DestinationStatus))}
	default:
		return badge{"good", number(uint64(r.DestinationStatus))}
	}
}

// Destination is where a request went or wanted to go.
func (r auditRow) Destination() string {
	if r.Host == "" {
		return ""
	}
	return originOf(&r.Event) + r.Path
}

// selection is what the address asks for.
func (v *visit) selection() (s audit.Selection, may func(*keybearer.Event) bool, err error) {
	if may, err = v.Custody.AuditFilter(v.r.Context(), v.ask()); err != nil {
		return s, nil, err
	}
	if v.Audit == nil {
		return s, nil, keybearer.NewError(keybearer.AuditUnavailable, "the audit log cannot be read back here").
			WithHint("it is not kept in a file: look where it is sent to")
	}
	query := v.r.URL.Query()
	if back, ok := map[string]time.Duration{"1h": time.Hour, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "30d": 30 * 24 * time.Hour}[query.Get("since")]; ok {
		query.Set("since", v.Now().Add(-back).UTC().Format(time.RFC3339))
	}
	s, err = audit.ParseSelection(query)
	return s, may, err
}

func (v *visit) audit() error {
	query := v.r.URL.Query()
	data := auditPage{Query: query, Codes: keybearer.Codes(), Form: &form{Values: query}}
	s, may, err := v.selection()
	if keybearer.CodeOf(err) == keybearer.Invalid && data.Form.blame(err, v.id) {
		return v.showStatus(http.StatusBadRequest, "audit", "Audit", data)
	}
	if err != nil {
		return err
	}
	events, _, err := s.Read(v.r.Context(), v.Audit, may)
	if err != nil {
		return err
	}
	ended := map[string]bool{}
	for _, e := range slices.Backward(events) {
		if e.Kind == keybearer.UseEvent && e.Phase == keybearer.Intent && ended[e.ID] {
			continue
		}
		ended[e.ID] = true
		data.Rows = append(data.Rows, newAuditRow(&e))
	}
	if len(events) == s.Limit {
		older := clone(query)
		older.Set("before", audit.PlaceOf(&events[0]))
		data.Older = "/audit?" + older.Encode()
	}
	without := clone(query)
	without.Del("before")
	data.Export, data.Table = address("/audit/export", without, "format"), address("/audit/export", with(without, "format", "csv"))
	if query.Get("before") == "" && query.Get("until") == "" {
		data.Live = "/audit/live?" + without.Encode()
	}
	if v.partial() {
		return v.fragment("audit", "rows", data)
	}
	return v.show("audit", "Audit", data)
}

func clone(v url.Values) url.Values {
	out := url.Values{}
	for name, values := range v {
		out[name] = slices.Clone(values)
	}
	return out
}

const (
	keepAlive = 15 * time.Second // how often something is sent while nothing happens, and how long one who does not take it is waited for
	judged    = 2 * time.Second  // how often it is asked whether the person still may
)

// auditLive sends rows as server-sent events, as they are written. It ends with the session, and with the right to read them.
func (v *visit) auditLive() error {
	s, may, err := v.selection()
	if err != nil {
		return err
	}
	give, err := v.live.take(v.person.Subject, maxLive)
	if err != nil {
		return err
	}
	defer give()
	ctx, first := v.r.Context(), may
	next := v.Audit.Subscribe(ctx, func(e *keybearer.Event) bool { return first(e) && s.Keeps(e) })
	events := make(chan keybearer.Event)
	go func() {
		defer close(events)
		for e := range next {
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	v.shown = true
	v.w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(v.w)
	send := func(text string) error { // not every server has deadlines
		_ = control.SetWriteDeadline(time.Now().Add(keepAlive))
		defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
		if _, err := v.w.Write([]byte(text)); err != nil {
			return err
		}
		return control.Flush()
	}
	if send("") != nil {
		return nil
	}
	alive, judge := time.NewTicker(keepAlive), time.NewTicker(judged)
	defer alive.Stop()
	defer judge.Stop()
	for {
		text := ":\n\n"
		select {
		case e, ok := <-events:
			if !ok {
				return nil
			}
			if !may(&e) {
				continue
			}
			var b bytes.Buffer
			if err := pages["audit"].ExecuteTemplate(&b, "row", view{Now: v.Now(), Data: newAuditRow(&e)}); err != nil {
				return err
			}
			text = "data: " + strings.NewReplacer("\r", "", "\n", "\ndata: ").Replace(strings.TrimSpace(b.String())) + "\n\n"
		case <-judge.C:
			if v.identify() != nil {
				return nil
			}
			if may, err = v.Custody.AuditFilter(ctx, v.ask()); err != nil {
				return nil
			}
			continue
		case <-alive.C:
		}
		if send(text) != nil {
			return nil
		}
	}
}

// maxExport is how many events an export holds at most.
const maxExport = 100_000

// auditExport sends events as a file: JSON lines, or CSV for a spreadsheet.
func (v *visit) auditExport() error {
	s, may, err := v.selection()
	if err != nil {
		return err
	}
	give, err := v.exports.take(v.person.Subject, maxExports)
	if err != nil {
		return err
	}
	defer give()
	s.Limit = maxExport
	events, _, err := s.Read(v.r.Context(), v.Audit, may)
	if err != nil {
		return err
	}
	v.shown = true
	name := "keybearer-audit-" + v.Now().UTC().Format("20060102-1504")
	_ = http.NewResponseController(v.w).SetWriteDeadline(time.Time{})
	if v.r.URL.Query().Get("format") == "csv" {
		v.w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		v.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.csv"`)
		table := csv.NewWriter(v.w)
		table.UseCRLF = true // RFC 4180
		_ = table.Write(audit.Columns)
		for i := range events {
			if table.Write(audit.Row(&events[i])) != nil {
				return nil
			}
		}
		table.Flush()
		return nil
	}
	v.w.Header().Set("Content-Type", "application/jsonl")
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.jsonl"`)
	lines := json.NewEncoder(v.w)
	for i := range events {
		if lines.Encode(&events[i]) != nil {
			return nil
		}
	}
	return nil
}
