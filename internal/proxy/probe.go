package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// Probe is one request without a body that an operator sends as a caller, to see what becomes of it.
type Probe struct {
	Operator   string // name, for the audit log
	Caller     string // name
	Credential keybearer.Ref
	Method     string
	URL        string // absolute, as an app in proxy mode asks for it: "http" means https there
}

// Seen is what may be told of the answer to a probe: no value of a field, and nothing of the body.
type Seen struct {
	RequestID string
	Status    int              // of the answer, ours or the destination's
	Refusal   *keybearer.Error // ours: what an app would have been told; nil: the destination answered
	Fields    []string         // names of the header's fields, sorted
	Bytes     int64            // of the body, as far as it was read
	Cut       bool             // not all of the body was read
	Duration  time.Duration
}

// Bounds of a probe: how long it may take, and how much of a body is read.
const (
	probeTime = 15 * time.Second
	probeBody = 1 << 20
)

// Probe sends the request through the same gate and engine as those of apps, as a listener would whose caller is fixed. It is judged, limited and
// counted as the caller's own; its audit events name the operator. Whether the operator may do so is for who calls to know. It returns [keybearer.Invalid] for
// what could not come over the wire; a refusal is no error.
func (p *Proxy) Probe(ctx context.Context, b Probe) (Seen, error) {
	if b.Caller == "" || b.Operator == "" || !isAbsolute(b.URL) ||
		strings.ContainsFunc(b.URL, func(r rune) bool { return r <= ' ' || r == 0x7f }) || !keybearer.ForwardableMethod(b.Method) {
		return Seen{}, keybearer.NewError(keybearer.Invalid, "this is not a request that could be sent")
	}
	h, err := p.Handler(Route{Caller: b.Caller, Operator: b.Operator})
	if err != nil {
		return Seen{}, err
	}
	defer h.Close()
	// The values of ctx are left behind: they may tell of the operator's own connection.
	own, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	r := (&http.Request{
		Method: b.Method, RequestURI: b.URL, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody,
		Header: http.Header{"Keybearer-Credential": {b.Credential.String()}},
	}).WithContext(own)
	w, began := &witness{header: http.Header{}}, time.Now()
	w.watch(h, r)
	seen := Seen{
		RequestID: w.header.Get("Keybearer-Request-Id"), Status: w.status, Bytes: w.bytes, Cut: w.cut, Duration: time.Since(began),
	}
	if strings.HasPrefix(w.header.Get("Proxy-Status"), proxyName+"; error=") { // no destination's: those are removed
		seen.Refusal = w.refusal()
		return seen, nil
	}
	if w.status == 0 {
		return seen, keybearer.NewError(keybearer.DestinationTimeout, "nothing was answered within "+strconv.Itoa(int(probeTime/time.Second))+" s")
	}
	for name, values := range w.header {
		if len(values) > 0 && name != "Proxy-Status" && name != "Keybearer-Request-Id" && !strings.HasPrefix(name, http.TrailerPrefix) {
			seen.Fields = append(seen.Fields, name)
		}
	}
	slices.Sort(seen.Fields)
	return seen, nil
}

// witness is the app's end of a probe. It keeps what a refusal says, and counts the rest.
type witness struct {
	header http.Header
	status int
	bytes  int64
	cut    bool
	begin  bytes.Buffer
}

// watch serves the request. That the answer was cut short is told by a panic.
func (w *witness) watch(h http.Handler, r *http.Request) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
			w.cut = true
		} else if p != nil {
			panic(p)
		}
	}()
	h.ServeHTTP(w, r)
}

// Header implements [http.ResponseWriter].
func (w *witness) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *witness) WriteHeader(status int) { w.status = status }

// Write implements [http.ResponseWriter]. It takes no more than a probe may read.
func (w *witness) Write(b []byte) (int, error) {
	if w.bytes += int64(len(b)); w.bytes > probeBody {
		w.cut = true
		return 0, io.ErrShortWrite
	}
	if room := 4096 - w.begin.Len(); room > 0 {
		w.begin.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

// Flush implements [http.Flusher].
func (w *witness) Flush() {}

// EnableFullDuplex is for [http.ResponseController].
func (w *witness) EnableFullDuplex() error { return errors.ErrUnsupported }

// refusal reads what we wrote ourselves.
func (w *witness) refusal() *keybearer.Error {
	var p problem
	if err := json.Unmarshal(w.begin.Bytes(), &p); err != nil || p.Code == "" {
		// Answers to HEAD have no body.
		_, details, _ := strings.Cut(w.header.Get("Proxy-Status"), `details="`)
		code, _, _ := strings.Cut(details, `"`)
		return keybearer.NewError(keybearer.Code(code).Info().Code, "")
	}
	return &keybearer.Error{Code: p.Code, Detail: p.Detail, Hint: p.Hint}
}
