package admin

import (
	"encoding/csv"
	"encoding/json"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
)

const (
	idle   = 15 * time.Second // how long a followed log may be silent before something is sent to keep the connection alive
	judged = 2 * time.Second  // how often it is asked whether who follows it still may
)

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
		_ = ew.table.Write(audit.Columns)
	}
	_ = ew.control.SetWriteDeadline(time.Time{}) // following has no end; not every server has deadlines
	return ew
}

func (ew *eventWriter) write(e *keybearer.Event) error {
	if ew.table != nil {
		return ew.table.Write(audit.Row(e))
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if ew.form == eventStream {
		// Neither an id nor a kind of ours holds a line break; of an event that somebody else wrote into the log it is taken out.
		b = append([]byte("id: "+oneLine(audit.PlaceOf(e))+"\nevent: "+oneLine(string(e.Kind))+"\ndata: "), append(b, '\n')...)
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

// stream writes the events and then, until the client has gone or judge returns an error, the next ones, less those that it has written already and those
// for which what judge returned last is false.
func (ew *eventWriter) stream(events []keybearer.Event, next iter.Seq[keybearer.Event], judge func() (func(*keybearer.Event) bool, error)) {
	type line struct {
		place string
		kind  keybearer.EventKind
	}
	written := make(map[line]bool, len(events))
	for i := range events {
		written[line{audit.PlaceOf(&events[i]), events[i].Kind}] = true
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
	timer, again := time.NewTicker(idle), time.NewTicker(judged)
	defer timer.Stop()
	defer again.Stop()
	may := func(*keybearer.Event) bool { return true } // next holds what was allowed at first
	for {
		select {
		case e, ok := <-pull:
			if !ok {
				return
			}
			if !may(&e) || written[line{audit.PlaceOf(&e), e.Kind}] {
				continue
			}
			if ew.write(&e) != nil {
				return
			}
		case <-again.C:
			var err error
			if may, err = judge(); err != nil {
				return
			}
			continue
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
