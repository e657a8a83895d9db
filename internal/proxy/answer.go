package proxy

import (
	"cmp"
	"encoding/json"
	"strconv"
	"time"

	"github.com/keybearer/keybearer"
)

// Answer is a refusal, ready for any wire engine: the status, the fields in order, and the whole body.
type Answer struct {
	Status int
	Fields []Field
	Body   []byte
}

// problem is RFC 9457, with our code, hint and request id as extension members.
type problem struct {
	Type      string         `json:"type"`
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Code      keybearer.Code `json:"code"`
	Detail    string         `json:"detail"`
	Hint      string         `json:"hint,omitempty"`
	RequestID string         `json:"request_id"`
}

// problemType is the base of the problem types: URNs, since nothing need be fetched to understand one.
const problemType = "urn:keybearer:problem:"

const retryAfter = 5 * time.Second // where the error does not say

// wholeSeconds is what Retry-After says: never less than the time, and never 0.
func wholeSeconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}

// Refuse renders a refusal of c. requestID may be empty when the call never got one.
func Refuse(c *Call, requestID string, err *keybearer.Error) Answer {
	info := err.Code.Info()
	if !info.Data { // never show an operator's code to an app
		err = &keybearer.Error{Code: keybearer.Internal, Err: err}
		info = err.Code.Info()
	}
	asProxy := isAbsolute(c.Target) || c.Method == "CONNECT" || c.Tunnel != nil
	status := info.Status
	if status == 407 && !asProxy {
		status = 401
	}
	body, _ := json.Marshal(problem{ // strings and a number: cannot fail
		problemType + string(err.Code), info.Title, status, err.Code, err.Message(), err.Advice(), requestID,
	})
	a := Answer{Status: status, Body: append(body, '\n')}
	a.Fields = append(a.Fields,
		Field{"Content-Type", "application/problem+json"},
		Field{"Content-Length", strconv.Itoa(len(a.Body))},
		Field{"Cache-Control", "no-store"},
		Field{"Proxy-Status", proxyName + "; error=" + info.Proxy + `; details="` + string(err.Code) + `"`},
		Field{"Keybearer-Request-Id", requestID},
	)
	switch {
	case status == 407:
		a.Fields = append(a.Fields, Field{"Proxy-Authenticate", `Bearer realm="keybearer"`}, Field{"Proxy-Authenticate", `Basic realm="keybearer"`})
	case status == 401:
		a.Fields = append(a.Fields, Field{"WWW-Authenticate", `Bearer realm="keybearer"`})
	}
	if info.Retry {
		a.Fields = append(a.Fields, Field{"Retry-After", wholeSeconds(cmp.Or(err.RetryAfter, retryAfter))})
	}
	return a
}
