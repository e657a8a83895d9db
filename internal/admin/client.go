package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// ClientConfig says where the server is. Exactly one of Socket and Address is set.
type ClientConfig struct {
	Socket  string           // path of the server's admin socket, where the peer's uid decides who asks
	Address string           // "https://host:port", or "http://" for a loopback listener
	Token   keybearer.Secret // operator's or caller's token; needed with Address
	Timeout time.Duration    // of one operation; 0: 30 s. Following the audit log has none
}

// Client speaks to the admin API, one method for each operation. It is safe for concurrent use.
//
// Every error is a *[keybearer.Error]: the server's own code, detail and hint, or [keybearer.ServerUnreachable], which names the
// address and how to mend it. Names of scopes, credentials, callers and operators may be their ids.
//
// Changes apply to whatever the record is now, unless the context was made by [IfRevision].
type Client struct {
	http    *http.Client
	base    string
	where   string // for messages
	socket  bool
	token   keybearer.Secret
	timeout time.Duration
}

// NewClient returns a client; it does not connect yet. It returns [keybearer.Invalid] for an address that is not one.
func NewClient(cfg ClientConfig) (*Client, error) {
	c := &Client{token: cfg.Token, timeout: cfg.Timeout}
	if c.timeout == 0 {
		c.timeout = 30 * time.Second
	}
	transport := &http.Transport{MaxIdleConns: 4, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: c.timeout}
	switch {
	case cfg.Socket != "" && cfg.Address == "":
		c.base, c.where, c.socket = "http://keybearer", cfg.Socket, true
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", cfg.Socket)
		}
	case cfg.Address != "" && cfg.Socket == "":
		u, err := url.Parse(cfg.Address)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
			return nil, keybearer.NewError(keybearer.Invalid, "the server's address is not one").WithHint("use https://host:port")
		}
		if u.Scheme == "http" && !loopback(u.Hostname()) {
			return nil, keybearer.NewError(keybearer.Invalid, "the server's address would send the token in clear").WithHint("use https://host:port")
		}
		c.base, c.where = u.Scheme+"://"+u.Host, u.Scheme+"://"+u.Host
	default:
		return nil, keybearer.NewError(keybearer.Invalid, "a client needs either a socket or an address")
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

type revisionKey struct{}

// IfRevision makes changes asked for with the context hold only while the record still has that revision: else they
// give [keybearer.Stale].
func IfRevision(ctx context.Context, revision uint64) context.Context {
	return context.WithValue(ctx, revisionKey{}, revision)
}

// apiPath joins escaped segments behind the API's root.
func apiPath(segments ...string) string {
	var b strings.Builder
	b.WriteString("/api/v1")
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(url.PathEscape(s), "%3A", ":"))
	}
	return b.String()
}

// call sends one request and decodes the answer into T.
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (T, error) {
	var out T
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := c.send(ctx, method, path, query, body, "application/json")
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return out, nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<20)).Decode(&out); err != nil {
		return out, c.foreign("its answer cannot be read", err)
	}
	return out, nil
}

// send returns a successful response, whose body the caller closes, or the problem as an error.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any, accept string) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, &keybearer.Error{Code: keybearer.Internal, Op: "encode request", Err: err}
		}
		payload = bytes.NewReader(b)
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, payload)
	if err != nil {
		return nil, keybearer.NewError(keybearer.Invalid, "the name cannot be part of an address")
	}
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if method != http.MethodGet {
		req.Header.Set("If-Match", "*")
		if revision, ok := ctx.Value(revisionKey{}).(uint64); ok {
			req.Header.Set("If-Match", etag(revision))
		}
	}
	if !c.token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	var p Problem
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&p); err != nil || p.Code == "" {
		return nil, c.foreign("it answered "+res.Status, err)
	}
	return nil, &keybearer.Error{Code: p.Code, Detail: p.Detail, Hint: p.Hint, Field: p.Field}
}

// foreign says that something answers, and that it is not the admin API.
func (c *Client) foreign(what string, err error) error {
	return &keybearer.Error{
		Code: keybearer.ServerUnreachable, Detail: "what answers at " + c.where + " is not Keybearer's admin API: " + what,
		Hint: "check KEYBEARER_ADDR, and that nothing stands between", Err: err,
	}
}

// unreachable says where the server was looked for and what to do.
func (c *Client) unreachable(err error) error {
	e := &keybearer.Error{Code: keybearer.ServerUnreachable, Detail: "no Keybearer server answers at " + c.where, Err: err}
	switch {
	case errors.Is(err, context.Canceled):
		e.Detail = "the request was cancelled"
	case errors.Is(err, context.DeadlineExceeded):
		e.Detail = "the Keybearer server at " + c.where + " did not answer in time"
	case c.socket && errors.Is(err, errPermission):
		e.Detail = "the admin socket " + c.where + " may not be opened by this user"
		e.Hint = "run it as the server's user or as root, or set KEYBEARER_ADDR and KEYBEARER_TOKEN_FILE"
	case c.socket:
		e.Hint = "start the server with keybearer run; if it keeps its socket elsewhere, set KEYBEARER_ADDR=unix/<path>"
	default:
		e.Hint = "check KEYBEARER_ADDR and that the server runs"
	}
	return e
}

// etag of a revision.
func etag(revision uint64) string {
	b, _ := json.Marshal(revision)
	return `"` + string(b) + `"`
}
