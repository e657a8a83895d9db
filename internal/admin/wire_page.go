package admin

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/keybearer/keybearer"
)

// Page is one page of a listing.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"` // cursor of the next page; absent on the last
}

// ListQuery selects and pages a listing. The zero value is the first page of all that is not deleted.
type ListQuery struct {
	Text    string            // case-insensitive part of name, description or destination host
	Kind    keybearer.Kind    // credentials of this kind
	Subject keybearer.Subject // credentials that have a grant for it
	Deleted bool              // tombstones too
	Cursor  string            // Page.Next of the page before
	Limit   int               // 0: 100; at most 1000
}

// Expiry is a time that a change may set, clear or leave alone. The zero value leaves it alone; JSON null clears it.
type Expiry struct {
	Set  bool
	Time time.Time // zero: never
}

// IsZero reports whether the expiry stays as it is.
func (e Expiry) IsZero() bool { return !e.Set }

// MarshalJSON writes an RFC 3339 time, or null for never.
func (e Expiry) MarshalJSON() ([]byte, error) {
	if e.Time.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(e.Time.UTC())
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Expiry) UnmarshalJSON(b []byte) error {
	e.Set = true
	if bytes.Equal(b, []byte("null")) {
		e.Time = time.Time{}
		return nil
	}
	return json.Unmarshal(b, &e.Time)
}

// Problem is the body of every answer that is not a success (RFC 9457).
type Problem struct {
	Type      string         `json:"type"`
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Code      keybearer.Code `json:"code"`
	Detail    string         `json:"detail,omitempty"`
	Hint      string         `json:"hint,omitempty"`
	Field     string         `json:"field,omitempty"` // of the request's body or query, that it concerns
	RequestID string         `json:"request_id"`
}
