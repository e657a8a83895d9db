package admin

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// maxBody bounds a request's body, in bytes: a secret of the largest size, with every character escaped.
const maxBody = 512 << 10

// decode reads the one JSON value of the body. Its errors hold nothing of it.
func decode[T any](x *exchange) (T, error) {
	var v T
	kind, _, err := mime.ParseMediaType(x.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return v, keybearer.NewError(keybearer.Invalid, "the body is not JSON").WithHint("send Content-Type: application/json")
	}
	d := json.NewDecoder(x.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, badBody(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, badBody(err)
	}
	return v, nil
}

func badBody(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return keybearer.NewError(keybearer.Invalid, "the body is larger than 512 KiB")
	}
	if e, ok := errors.AsType[*keybearer.Error](err); ok {
		return e // of one of our own types, with a text of our own
	}
	// The decoder's own message can quote the body: it is dropped.
	return keybearer.NewError(keybearer.Invalid, "the body is not the one JSON object that this operation takes").
		WithHint("check the names and types of its fields")
}

// empty returns an error when there is a body.
func (x *exchange) empty() error {
	if n, _ := x.Body.Read(make([]byte, 1)); n > 0 {
		return keybearer.NewError(keybearer.Invalid, "this operation takes no body")
	}
	return nil
}

// match reads If-Match into the ask. It returns PreconditionRequired without one.
func (x *exchange) match() error {
	values := x.Header.Values("If-Match")
	if len(values) != 1 || values[0] == "" {
		return keybearer.NewError(keybearer.PreconditionRequired, "")
	}
	if values[0] == "*" {
		x.ask.Revision = 0
		return nil
	}
	text, opened := strings.CutPrefix(values[0], `"`)
	text, closed := strings.CutSuffix(text, `"`)
	revision, err := strconv.ParseUint(text, 10, 63)
	if !opened || !closed || err != nil || revision == 0 || values[0] != etag(revision) {
		return keybearer.NewError(keybearer.Stale, "") // an ETag that we never gave matches nothing
	}
	x.ask.Revision = revision
	return nil
}

// ref is the credential that the path names.
func (x *exchange) ref() keybearer.Ref {
	return keybearer.Ref{Scope: x.PathValue("scope"), Name: x.PathValue("name")}
}

// parameters returns the query's values. It refuses names beyond the known ones and repeated ones.
func parameters(r *http.Request, known []parameter) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, keybearer.NewError(keybearer.Invalid, "the query cannot be read")
	}
	for name, v := range values {
		if !slices.ContainsFunc(known, func(p parameter) bool { return p.Name == name }) || len(v) != 1 {
			return nil, unknownParameter(known)
		}
	}
	return values, nil
}

func unknownParameter(known []parameter) error {
	if len(known) == 0 {
		return keybearer.NewError(keybearer.Invalid, "this operation takes no parameters in the query")
	}
	var names []string
	for _, p := range known {
		names = append(names, p.Name)
	}
	return keybearer.NewError(keybearer.Invalid, "the query has a parameter that this operation does not know, or one twice").
		WithHint("it knows " + strings.Join(names, ", "))
}

func flag(v url.Values, name string) (bool, error) {
	switch v.Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, keybearer.NewError(keybearer.Invalid, name+" is true or false")
}

func limit(v url.Values) (int, error) {
	if !v.Has("limit") {
		return 100, nil
	}
	n, err := strconv.Atoi(v.Get("limit"))
	if err != nil || n < 1 || n > 1000 {
		return 0, keybearer.NewError(keybearer.Invalid, "limit is a number from 1 to 1000")
	}
	return n, nil
}

// listing reads what selects and pages a listing.
func (x *exchange) listing() (q keybearer.Query, err error) {
	v := x.query
	q.Text, q.Kind, q.Subject, q.Cursor = v.Get("q"), keybearer.Kind(v.Get("kind")), keybearer.Subject(v.Get("subject")), v.Get("cursor")
	if q.Subject != "" {
		if q.Subject, err = keybearer.ParseSubject(string(q.Subject)); err != nil {
			return q, err
		}
	}
	if q.Deleted, err = flag(v, "deleted"); err != nil {
		return q, err
	}
	q.Limit, err = limit(v)
	return q, err
}

func moment(v url.Values, name string, otherwise time.Time) (time.Time, error) {
	if !v.Has(name) {
		return otherwise, nil
	}
	t, err := time.Parse(time.RFC3339, v.Get(name))
	if err != nil {
		return t, keybearer.NewError(keybearer.Invalid, name+" is an RFC 3339 time")
	}
	return t.UTC(), nil
}
