package admin

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/custody"
)

// Config of the handler. Custody and Authenticate are required.
type Config struct {
	Custody      *custody.Custody
	Authenticate Authenticate
	Audit        audit.Reader   // nil: /audit answers audit_unavailable
	SetUp        SetUp          // nil: /setup is forbidden, as it is everywhere but on the admin socket
	Probe        custody.Prober // nil: this server forwards nothing, and a test request is a conflict
	Logger       *slog.Logger   // optional: gets each failure of ours once, with its request id
}

type handler struct {
	custody      *custody.Custody
	authenticate Authenticate
	audit        audit.Reader
	setUp        SetUp
	probe        custody.Prober
	log          *slog.Logger
	mux          *http.ServeMux
	other        http.HandlerFunc // for what no operation is for
}

// problemType is followed by the code; the data path uses the same.
const problemType = "urn:keybearer:problem:"

// New returns the handler of everything under /api/v1. It is safe for concurrent use, and holds nothing that needs closing.
func New(cfg Config) http.Handler {
	h := &handler{custody: cfg.Custody, authenticate: cfg.Authenticate, audit: cfg.Audit, setUp: cfg.SetUp, probe: cfg.Probe, log: cfg.Logger}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.other = h.serve(&nowhere)
	h.mux = h.mount(operations)
	return h
}

// exchange is one authenticated request.
type exchange struct {
	*http.Request
	w       http.ResponseWriter
	op      *operation
	custody *custody.Custody
	audit   audit.Reader
	setUp   SetUp
	probe   custody.Prober
	ask     custody.Ask
	again   func() error // authenticates anew, for answers that take long
	query   url.Values   // what the operation knows, each once
}

// reply is a successful answer. Nil says that the answer was sent already.
type reply struct {
	status   int // 0: 200
	revision uint64
	body     any // nil: there is none
}

// ServeHTTP answers every request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if path.Clean(r.URL.Path) != r.URL.Path || r.Method == http.MethodConnect {
		h.other(w, r) // the mux would answer with a redirect that repeats the path
		return
	}
	h.mux.ServeHTTP(w, r)
}

// serve has an operation answer requests.
func (h *handler) serve(op *operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := keybearer.NewID(keybearer.IDRequest)
		header := w.Header()
		header.Set("Keybearer-Request-Id", id)
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		defer func() {
			if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
				panic(p)
			} else if p != nil {
				h.log.Error("admin request failed", "request_id", id, "stack", string(debug.Stack()))
				h.problem(w, id, keybearer.NewError(keybearer.Internal, ""))
			}
		}()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		rep, err := h.exchange(w, r, id, op)
		switch {
		case err != nil:
			h.problem(w, id, err)
		case rep != nil:
			h.answer(w, id, rep)
		}
	}
}

func (h *handler) exchange(w http.ResponseWriter, r *http.Request, id string, op *operation) (*reply, error) {
	if err := sameOrigin(r); err != nil {
		return nil, err
	}
	x := &exchange{Request: r, w: w, op: op, custody: h.custody, audit: h.audit, setUp: h.setUp, probe: h.probe, ask: custody.Ask{ID: id}}
	x.again = func() (err error) {
		x.ask.Actor, err = h.authenticate(r)
		return err
	}
	var err error
	if !op.Open {
		if err = x.again(); err != nil {
			return nil, err
		}
	}
	if op != &nowhere {
		if x.query, err = parameters(r, op.Query); err != nil {
			return nil, err
		}
	}
	rep, err := op.Takes.fn(x)
	if err == nil && rep != nil && rep.status == 0 {
		rep.status = op.Status
	}
	return rep, err
}

func (h *handler) answer(w http.ResponseWriter, id string, rep *reply) {
	b, err := json.Marshal(rep.body)
	if err != nil {
		h.problem(w, id, err)
		return
	}
	if rep.revision != 0 {
		w.Header().Set("ETag", etag(rep.revision))
	}
	w.Header().Set("Content-Type", "application/json")
	if rep.status != 0 {
		w.WriteHeader(rep.status)
	}
	_, _ = w.Write(append(b, '\n')) // a client that went away is told nothing
}

// problem answers with an error (RFC 9457). Failures of ours are logged, with their cause.
func (h *handler) problem(w http.ResponseWriter, id string, err error) {
	e := keybearer.AsError(err)
	info := e.Code.Info()
	if info.Status >= 500 {
		h.log.Error("admin request failed", "request_id", id, "code", info.Code, "error", err)
	}
	p := Problem{
		Type: problemType + string(info.Code), Title: info.Title, Status: info.Status, Code: info.Code,
		Detail: e.Message(), Hint: e.Advice(), Field: e.Field, RequestID: id,
	}
	if e.Code == keybearer.RuleInvalid {
		p.Hint = "write it as [scheme://]host[:port][/path], for example https://api.example.com/hooks" // the parser's own hint repeats the rule
	}
	header := w.Header()
	header.Del("ETag")
	header.Set("Content-Type", "application/problem+json")
	switch {
	case info.Status == http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="keybearer"`)
	case info.Retry:
		header.Set("Retry-After", "5")
	}
	w.WriteHeader(info.Status)
	b, _ := json.Marshal(p) // strings and a number always marshal
	_, _ = w.Write(append(b, '\n'))
}
