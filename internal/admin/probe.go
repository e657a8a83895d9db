package admin

import (
	"context"
	"net/http"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// TestRequest is one real request without a body, to be sent with the credential as a caller. It is judged, limited, counted and audited as the caller's own.
type TestRequest struct {
	Caller string `json:"caller"` // name
	Method string `json:"method"` // GET, HEAD, OPTIONS or POST
	URL    string `json:"url"`    // as the app would ask for it through the proxy: http means https there
}

// TestResult is what may be told of the answer to a test request: no value of a field, and nothing of the body.
type TestResult struct {
	RequestID  string         `json:"request_id"` // of the request that was sent, as in the audit log
	Status     int            `json:"status"`     // of the answer, the destination's or, with a code, Keybearer's
	DurationMS int64          `json:"duration_ms"`
	Bytes      int64          `json:"bytes"`            // of the body, as far as it was read
	Cut        bool           `json:"cut,omitempty"`    // not all of the body was read
	Fields     []string       `json:"fields,omitempty"` // names of the header's fields, of a destination's answer
	Code       keybearer.Code `json:"code,omitempty"`   // when Keybearer refused it, or did not get an answer
	Detail     string         `json:"detail,omitempty"` // of that
	Hint       string         `json:"hint,omitempty"`   // of that
}

func testCredential(x *exchange, r TestRequest) (*reply, error) {
	p, err := x.custody.Test(x.Context(), x.ask, custody.Probe{Credential: x.ref(), Caller: r.Caller, Method: r.Method, URL: r.URL}, x.probe)
	if err != nil {
		return nil, err
	}
	out := TestResult{RequestID: p.RequestID, Status: p.Status, DurationMS: p.Milliseconds(), Bytes: p.Bytes, Cut: p.Cut, Fields: p.Fields}
	if e := p.Refusal; e != nil {
		out.Code, out.Detail, out.Hint = e.Code, e.Message(), e.Advice()
	}
	return &reply{body: out}, nil
}

// TestCredential sends one request without a body with the credential, as a caller. That it was refused is no error.
func (c *Client) TestCredential(ctx context.Context, ref keybearer.Ref, r TestRequest) (TestResult, error) {
	ref.Name += ":test"
	return call[TestResult](ctx, c, http.MethodPost, credentialPath(ref), nil, r)
}
