package admin

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/keybearer/keybearer"
)

// operation is one row of the table that both the mux and the description of the API (openapi.json) are made from. Nothing else is served.
type operation struct {
	Method  string
	Path    string // with {parameters}; a colon before a verb
	ID      string // name in generated clients
	Summary string
	Needs   string      // what the asker needs, in words
	Open    bool        // without authentication
	Query   []parameter // all that the query may hold
	Header  []parameter // request headers with a meaning of their own
	Match   matching
	Takes   handling     // body and handler
	Answer  reflect.Type // of the body; nil: it is not JSON
	Media   []string     // of an answer that is not JSON
	Status  int          // of success; 0: 200
	Tagged  bool         // success carries an ETag
	Codes   []keybearer.Code
}

// matching says whether If-Match is required.
type matching uint8

const (
	noMatch   matching = iota // it changes nothing that is there
	mustMatch                 // always
	mayMatch                  // the handler decides
)

// parameter is one of the query or of the header.
type parameter struct {
	Name, Description string
	Type              reflect.Type
	Required          bool
	Low, High, Else   int // of numbers: bounds and what holds without it
}

// handling is a handler and the type of the body that it takes; nil: none.
type handling struct {
	body reflect.Type
	fn   func(*exchange) (*reply, error)
}

// takes is for operations with a body: the one JSON value of type T.
func takes[T any](fn func(*exchange, T) (*reply, error)) handling {
	return handling{reflect.TypeFor[T](), func(x *exchange) (*reply, error) {
		v, err := decode[T](x)
		if err == nil && x.op.Match == mustMatch {
			err = x.match()
		}
		if err != nil {
			return nil, err
		}
		return fn(x, v)
	}}
}

// bare is for operations without a body.
func bare(fn func(*exchange) (*reply, error)) handling {
	return handling{nil, func(x *exchange) (*reply, error) {
		err := x.empty()
		if err == nil && x.op.Match == mustMatch {
			err = x.match()
		}
		if err != nil {
			return nil, err
		}
		return fn(x)
	}}
}

// verb splits the path of a colon verb behind a parameter, "/callers/{name}:disable"; other paths have none.
func (op *operation) verb() (path, segment, verb string) {
	path, verb, found := strings.Cut(op.Path, "}:")
	if !found {
		return op.Path, "", ""
	}
	return path + "}", path[strings.LastIndexByte(path, '{')+1:], verb
}

// mount makes the mux of the operations. Since a pattern's parameter is a whole segment, verbs behind one are told apart here.
func (h *handler) mount(operations []operation) *http.ServeMux {
	mux := http.NewServeMux()
	type shared struct{ pattern, segment string }
	verbs := map[shared]map[string]http.HandlerFunc{}
	for i := range operations {
		op := &operations[i]
		path, segment, verb := op.verb()
		pattern := op.Method + " " + path
		if verb == "" {
			mux.HandleFunc(pattern, h.serve(op))
			continue
		}
		key := shared{pattern, segment}
		if verbs[key] == nil {
			verbs[key] = map[string]http.HandlerFunc{}
		}
		verbs[key][verb] = h.serve(op)
	}
	for key, group := range verbs {
		mux.HandleFunc(key.pattern, func(w http.ResponseWriter, r *http.Request) {
			name, verb, _ := strings.Cut(r.PathValue(key.segment), ":")
			serve := group[verb]
			if serve == nil {
				serve = h.other
			}
			r.SetPathValue(key.segment, name)
			serve(w, r)
		})
	}
	mux.Handle("/", h.other)
	return mux
}

// nowhere answers what no operation is for.
var nowhere = operation{Takes: handling{fn: noOperation}}

func noOperation(*exchange) (*reply, error) {
	return nil, keybearer.NewError(keybearer.NotFound, "the API has no such operation")
}
