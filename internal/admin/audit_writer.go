package admin

import (
	"encoding/csv"
	"encoding/json"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keybearer/keybearer"
)

// idle is how long a followed log may be silent before something is sent to keep the connection alive.
const idle = 15 * time.Second

// eventWriter writes events in one of the forms.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	form    string
	table   *csv.Writer
}

func newEventWriter(w http.ResponseWriter, form string) *eventWriter {
	ew := &eventWriter{w, http.NewResponseController(w), form, nil}
	w.Header().Set("Content-Type", form)
	if form == eventTable {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		w.Header().Set("Content-Disposition", `attachment; filename="audit.csv"`)
		ew.table = csv.NewWriter(w)
		ew.table.UseCRLF = true // RFC 4180
		_ = ew.table.Write(columns)
	}
	_ = ew.control.SetWriteDeadline(time.Time{}) // following has no end; not every server has deadlines
	return ew
}

func (ew *eventWriter) write(e *keybearer.Event) error {
	if ew.table != nil {
		return ew.table.Write(row(e))
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if ew.form == eventStream {
		// Neither an id nor a kind of ours holds a line break; of an event that somebody else wrote into the log it is taken out.
		b = append([]byte("id: "+oneLine(Place(e))+"\nevent: "+oneLine(string(e.Kind))+"\ndata: "), append(b, '\n')...)
	}
	_, err = ew.w.Write(append(b, '\n'))
	return err
}

func oneLine(s string) string { return strings.NewReplacer("\n", "", "\r", "", "\x00", "").Replace(s) }

// gap tells who asked to begin behind an event that some since then are not in the log any more, or were too many.
func (ew *eventWriter) gap() { _, _ = ew.w.Write([]byte("event: gap\ndata: {}\n\n")) }

// alive writes what means nothing.
func (ew *eventWriter) alive() error {
	nothing := "\n"
	if ew.form == eventStream {
		nothing = ":\n\n"
	}
	_, err := ew.w.Write([]byte(nothing))
	return err
}

// stream writes the events and then, until the client has gone, the next ones, less those that it has written already.
func (ew *eventWriter) stream(events []keybearer.Event, next iter.Seq[keybearer.Event]) {
	type line struct {
		place string
		kind  keybearer.EventKind
	}
	written := make(map[line]bool, len(events))
	for i := range events {
		written[line{Place(&events[i]), events[i].Kind}] = true
		if ew.write(&events[i]) != nil {
			break
		}
	}
	if ew.table != nil {
		ew.table.Flush()
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
			if written[line{Place(&e), e.Kind}] {
				continue
			}
			if ew.write(&e) != nil {
				return
			}
		case <-timer.C:
			if ew.alive() != nil {
				return
			}
		}
		if ew.control.Flush() != nil {
			return
		}
	}
}

// columns of the table form, in the order of row.
var columns = []string{
	"time", "id", "phase", "event", "scope", "credential", "credential_id", "secret_version", "caller", "token_id", "acting_user", "operator", "method", "scheme", "host",
	"port", "path", "decision", "code", "rule", "would_refuse", "trial", "destination_status", "duration_ms", "bytes_out", "bytes_in", "action", "changed",
}

func row(e *keybearer.Event) []string {
	number := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	duration := ""
	if e.DurationMS != 0 {
		duration = strconv.FormatFloat(e.DurationMS, 'f', -1, 64)
	}
	out := []string{
		e.Time.UTC().Format(time.RFC3339Nano), e.ID, string(e.Phase), string(e.Kind), e.Scope, e.Credential, e.CredentialID, number(int64(e.SecretVersion)), e.Caller, e.TokenID,
		e.ActingUser, e.Operator, e.Method, e.Scheme, e.Host, number(int64(e.Port)), e.Path, e.Decision, string(e.Code), e.Rule, string(e.WouldRefuse), e.Trial,
		number(int64(e.DestinationStatus)), duration, number(e.BytesOut), number(e.BytesIn), e.Action, strings.Join(e.Changed, " "),
	}
	for i := range out {
		out[i] = harmless(out[i])
	}
	return out
}

// harmless keeps a spreadsheet from running a value as a formula: what could be one begins with an apostrophe.
func harmless(s string) string {
	if first, _ := utf8.DecodeRuneInString(s); s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return "'" + s
	}
	return s
}
