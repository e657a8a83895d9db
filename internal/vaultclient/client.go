package vaultclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/breaker"
)

const (
	limit     = 64               // requests under way at a time
	pause     = time.Second      // between two attempts while nobody answers
	maxAnswer = 64 << 20         // bytes
	longest   = 15 * time.Second // between two logins that are refused
)

// Client talks to one Vault with one role. It is safe for concurrent use.
type Client struct {
	config  Config
	timeout time.Duration
	log     *slog.Logger
	http    *http.Client
	breaker *breaker.Breaker
	ctx     context.Context // ends with Close
	end     context.CancelFunc

	mu      sync.Mutex
	current *session    // nil until the first login
	flight  *flight     // the login under way
	renewal *time.Timer // for current
	refusal error       // of the last login, if it failed
	refused int         // logins that failed in a row
	retry   time.Time   // not before this, after a refusal
}

// New returns a client and makes no connection: the first call logs in. It returns the errors of [Config.Validate].
func New(c Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	v := &Client{
		config: c, timeout: c.Timeout, log: c.Logger,
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		breaker: breaker.New(limit, pause, absent),
	}
	if v.timeout == 0 {
		v.timeout = DefaultTimeout
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	v.ctx, v.end = context.WithCancel(context.Background())
	if _, err := v.dress(keybearer.Secret{}); err != nil { // once, so that no later one fails
		return nil, invalid("the Vault library refuses the environment", "unset VAULT_CACERT, VAULT_HEADERS and the like: Keybearer uses none of them").Wrap(err)
	}
	return v, nil
}

// dress returns a client of the library that sends this token, our namespace, and nothing that stands in the environment.
func (c *Client) dress(token keybearer.Secret) (*api.Client, error) {
	v, err := api.NewClient(&api.Config{Address: c.config.Address, HttpClient: c.http, MaxRetries: 0, DisableRedirects: true})
	if err != nil {
		return nil, err
	}
	v.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	v.ClearToken()
	v.ClearNamespace()
	if c.config.Namespace != "" {
		v.SetNamespace(c.config.Namespace)
	}
	if !token.IsZero() {
		v.SetToken(token.Reveal())
	}
	return v, nil
}

// Request is one call. Path is without "v1/"; its users see to it that names in it are harmless.
type Request struct {
	Method  string // GET, LIST, PUT or DELETE
	Path    string
	Body    any           // sent as JSON; nil: none
	Timeout time.Duration // 0: the client's
	Repeats bool          // of a PUT: that it may be carried out twice does no harm
}

// Do makes a call, and logs in before if need be. If Vault refuses the token, it logs in anew and tries once more. The body of the
// answer, empty for 204, is the caller's; it may hold a secret. The error is an [*Error].
func (c *Client) Do(ctx context.Context, r Request) ([]byte, error) {
	var body []byte
	err := c.breaker.Do(ctx, func(ctx context.Context) error {
		s, err := c.session(ctx)
		if err != nil {
			return err
		}
		if body, err = c.send(ctx, s.api, r); brokenOff(err) && (r.Repeats || r.Method != http.MethodPut) {
			body, err = c.send(ctx, s.api, r) // on a new connection: the old one was kept for longer than Vault did
		}
		if Status(err) != http.StatusForbidden {
			return err
		}
		fresh, failed := c.replace(ctx, s)
		switch {
		case failed != nil:
			return failed
		case fresh != s:
			body, err = c.send(ctx, fresh.api, r)
		}
		return err
	})
	if err != nil {
		if _, ok := errors.AsType[*Error](err); !ok { // the wait for a slot ended
			err = &Error{Method: r.Method, Path: r.Path, Err: err}
		}
		return nil, err
	}
	return body, nil
}

// Read reads a path. Where nothing is, the error has status 404; KV answers so for a deleted version too, and then there is a secret
// beside the error.
func (c *Client) Read(ctx context.Context, path string) (*api.Secret, error) {
	return c.secret(c.Do(ctx, Request{Method: http.MethodGet, Path: path}))
}

// List lists a path; an empty one is a 404 to Vault.
func (c *Client) List(ctx context.Context, path string) (*api.Secret, error) {
	return c.secret(c.Do(ctx, Request{Method: "LIST", Path: path}))
}

// Write writes to a path. The secret is nil where Vault has nothing to say.
func (c *Client) Write(ctx context.Context, path string, body any) (*api.Secret, error) {
	return c.secret(c.Do(ctx, Request{Method: http.MethodPut, Path: path, Body: body}))
}

// WriteBatch is Write of many items, to which Vault gives five times as long, and for which a 400 is an answer when it
// carries their results. It may be carried out twice.
func (c *Client) WriteBatch(ctx context.Context, path string, body any) ([]byte, error) {
	answer, err := c.Do(ctx, Request{Method: http.MethodPut, Path: path, Body: body, Timeout: 5 * c.timeout, Repeats: true})
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusBadRequest {
		var results struct {
			Data struct {
				Batch []json.RawMessage `json:"batch_results"`
			}
		}
		if json.Unmarshal(e.body, &results) == nil && len(results.Data.Batch) > 0 {
			return e.body, nil
		}
	}
	return answer, err
}

// Delete deletes what is at a path.
func (c *Client) Delete(ctx context.Context, path string) error {
	_, err := c.Do(ctx, Request{Method: http.MethodDelete, Path: path})
	return err
}

func (c *Client) secret(body []byte, err error) (*api.Secret, error) {
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusNotFound {
		s, _ := api.ParseSecret(bytes.NewReader(e.body)) // there may be none
		return s, err
	}
	if err != nil {
		return nil, err
	}
	return api.ParseSecret(bytes.NewReader(body))
}

// Health asks how Vault is, without a token and whatever the breaker thinks.
func (c *Client) Health(ctx context.Context) (*api.HealthResponse, error) {
	v, err := c.dress(keybearer.Secret{})
	if err != nil {
		return nil, err
	}
	v.ClearNamespace() // it is asked of the whole server
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	h, err := v.Sys().HealthWithContext(ctx)
	if err != nil {
		return nil, c.fail(Request{Method: http.MethodGet, Path: "sys/health"}, nil, err)
	}
	return h, nil
}

// Away returns since when nobody has answered; the zero time: the last call was answered.
func (c *Client) Away() time.Time { return c.breaker.Away() }

// Namespace returns the configured one.
func (c *Client) Namespace() string { return c.config.Namespace }

// send makes one request.
func (c *Client) send(ctx context.Context, v *api.Client, r Request) ([]byte, error) {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = c.timeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var content []byte
	if r.Body != nil {
		var err error
		if content, err = json.Marshal(r.Body); err != nil {
			return nil, c.fail(r, nil, errors.Join(errLocal, err))
		}
	}
	var resp *api.Response
	var err error
	switch r.Method {
	case http.MethodGet:
		resp, err = v.Logical().ReadRawWithContext(ctx, r.Path)
	case "LIST":
		resp, err = v.Logical().ReadRawWithDataWithContext(ctx, r.Path, url.Values{"list": {"true"}})
	case http.MethodPut:
		resp, err = v.Logical().WriteRawWithContext(ctx, r.Path, content)
	case http.MethodDelete:
		resp, err = v.Logical().DeleteRawWithContext(ctx, r.Path)
	default:
		err = errors.Join(errLocal, errors.New("no such method"))
	}
	var body []byte
	if resp != nil {
		defer resp.Body.Close()
		more, failed := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if body = more; err == nil && failed == nil && resp.StatusCode < 300 {
			return body, nil
		}
		if err == nil {
			err = failed
		}
		if err == nil { // a redirect, which the library takes for success when it does not follow it
			err = &api.ResponseError{StatusCode: resp.StatusCode, Errors: []string{"a redirect"}}
		}
	}
	return nil, c.fail(r, body, err)
}

// fail makes an Error of one of the library's.
func (c *Client) fail(r Request, body []byte, err error) *Error {
	e := &Error{Method: r.Method, Path: r.Path, Err: err, body: body}
	if answer, ok := errors.AsType[*api.ResponseError](err); ok {
		e.Status, e.Err = answer.StatusCode, nil
		e.Messages = oneLine(strings.Join(answer.Errors, "; "))
		if answer.RawError { // of a proxy, and it may repeat what was sent
			e.Messages, e.foreign = "not in Vault's words", true
		}
		e.Nothing = answer.StatusCode == http.StatusNotFound && saysNothing(body)
	} else if !errors.Is(err, errLocal) {
		c.http.CloseIdleConnections() // whatever they lead to, it may be gone
	}
	return e
}

// saysNothing reports whether a body is one with which Vault says that nothing is at a path: {"errors":[]}, or what KV says of a version
// that was deleted.
func saysNothing(body []byte) bool {
	var answer struct {
		Errors *[]json.RawMessage `json:"errors"`
		Data   struct {
			Metadata json.RawMessage `json:"metadata"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return false
	}
	return answer.Errors != nil && len(*answer.Errors) == 0 || len(answer.Data.Metadata) > 0
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}

// Probe makes a call to see what Vault says to it, and returns the status, 200 for any success. It logs in before if need be, but not anew when
// it is refused, and tells the breaker nothing. The error is for when nobody answers.
func (c *Client) Probe(ctx context.Context, r Request) (int, error) {
	s, err := c.session(ctx)
	if err != nil {
		return 0, err
	}
	_, err = c.send(ctx, s.api, r)
	switch status := Status(err); {
	case err == nil:
		return http.StatusOK, nil
	case status == http.StatusInternalServerError, status != 0 && !Away(err): // Vault has 500 for some wrong requests
		return status, nil
	default:
		return status, err
	}
}
