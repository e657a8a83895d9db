package harness

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// IDHeader is the request header by which tests tell their requests apart. Destinations send it back.
const IDHeader = "X-Test-Id"

// Field is one header field as it arrived.
type Field struct{ Name, Value string }

// Arrival is one request as a destination received it.
type Arrival struct {
	Destination string // name of the destination that recorded it
	Proto       string // "HTTP/1.1", "HTTP/2.0"
	SNI         string // name that the client asked for in TLS
	Method      string
	Target      string // request-target as sent
	Host        string // Host or :authority
	Header      []Field
	Head        string // the bytes up to and with the empty line; only of a Recorder
	Body        []byte // only of a Recorder
}

// ID returns the request's IDHeader.
func (a *Arrival) ID() string { return strings.Join(a.Values(IDHeader), ",") }

// Values returns the values of all fields with the name, in order.
func (a *Arrival) Values(name string) []string {
	var values []string
	for _, f := range a.Header {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

// Arrivals collects arrivals. The zero value is empty.
type Arrivals struct {
	mu   sync.Mutex
	list []*Arrival
}

func (l *Arrivals) add(a *Arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, a)
}

// All returns what has arrived so far, in order.
func (l *Arrivals) All() []*Arrival {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Arrival(nil), l.list...)
}

// Len returns how many have arrived so far.
func (l *Arrivals) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.list)
}

// With returns those with the IDHeader.
func (l *Arrivals) With(id string) []*Arrival {
	var found []*Arrival
	for _, a := range l.All() {
		if a.ID() == id {
			found = append(found, a)
		}
	}
	return found
}

// One waits until a request with the IDHeader has arrived and returns it; it ends the test when there is none within
// 10 s, or more than one.
func (l *Arrivals) One(tb TB, id string) *Arrival {
	tb.Helper()
	var found []*Arrival
	Await(tb, "arrival of request "+id, 10*time.Second, func() error {
		if found = l.With(id); len(found) == 0 {
			return fmt.Errorf("nothing arrived")
		}
		return nil
	})
	if len(found) > 1 {
		tb.Fatalf("request %s arrived %d times", id, len(found))
	}
	return found[0]
}
