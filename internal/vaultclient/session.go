package vaultclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keybearer/keybearer"
)

// session is a token in use. It is immutable.
type session struct {
	*token
	api   *api.Client
	since time.Time
}

// flight is a login that several wait for.
type flight struct {
	done chan struct{}
	s    *session
	err  error
}

// session returns the current one, or logs in.
func (c *Client) session(ctx context.Context) (*session, error) {
	c.mu.Lock()
	s := c.current
	c.mu.Unlock()
	if s != nil && !c.config.Auth.changed() {
		return s, nil
	}
	fresh, err := c.login(ctx, s)
	if err != nil && s != nil {
		return s, nil // the file that changed may be half written; what there is may still do
	}
	return fresh, err
}

// replace returns a session instead of one whose token Vault has refused something: s itself if the token lives, which means that it
// lacks the right. A login for each refusal would fill Vault with tokens.
func (c *Client) replace(ctx context.Context, s *session) (*session, error) {
	c.mu.Lock()
	current := c.current
	c.mu.Unlock()
	if current != s && current != nil {
		return current, nil
	}
	if time.Since(s.since) < pause { // made for this very request, or the last
		return s, nil
	}
	_, err := c.send(ctx, s.api, Request{Method: http.MethodGet, Path: "auth/token/lookup-self"})
	if Status(err) != http.StatusForbidden {
		return s, err
	}
	return c.login(ctx, s)
}

// login makes a session instead of old, once for all who ask at a time. After a refusal it waits for longer and longer until
// it asks again, and gives the same error meanwhile.
func (c *Client) login(ctx context.Context, old *session) (*session, error) {
	c.mu.Lock()
	if c.current != old {
		defer c.mu.Unlock()
		return c.current, nil
	}
	if c.refusal != nil && time.Now().Before(c.retry) {
		defer c.mu.Unlock()
		return nil, c.refusal
	}
	f := c.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		c.flight = f
		go c.fly(f)
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.s, f.err
	case <-ctx.Done():
		return nil, &Error{Method: "wait", Path: "for the login", Login: true, Err: ctx.Err()}
	}
}

func (c *Client) fly(f *flight) {
	ctx, cancel := context.WithTimeout(c.ctx, 3*c.timeout)
	defer cancel()
	f.s, f.err = c.authenticate(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(f.done)
	c.flight = nil
	if f.err != nil {
		c.refusal = f.err
		if !Away(f.err) {
			c.retry = time.Now().Add(c.backOff(c.refused))
			c.refused++
			c.log.Warn("Vault refuses the login", "error", f.err)
		}
		return
	}
	c.refusal, c.refused, c.retry = nil, 0, time.Time{}
	c.current = f.s
	c.log.Info("logged in to Vault", "token_ttl", f.s.ttl)
	c.schedule(f.s, f.s.ttl)
}

func (c *Client) authenticate(ctx context.Context) (*session, error) {
	since := time.Now()
	t, err := c.config.Auth.login(ctx, func(ctx context.Context, token keybearer.Secret, r Request) ([]byte, error) {
		v, err := c.dress(token)
		if err != nil {
			return nil, err
		}
		return c.send(ctx, v, r)
	})
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			e = &Error{Err: fmt.Errorf("%w: %w", errLocal, err)}
		}
		e.Login = true
		return nil, e
	}
	v, err := c.dress(t.value)
	if err != nil {
		return nil, &Error{Login: true, Err: fmt.Errorf("%w: %w", errLocal, err)}
	}
	return &session{t, v, since}, nil
}

// schedule sees to s again when two thirds of ttl have passed. The caller holds mu.
func (c *Client) schedule(s *session, ttl time.Duration) {
	if c.renewal != nil {
		c.renewal.Stop()
	}
	if ttl > 0 && c.ctx.Err() == nil {
		c.after(jitter(max(ttl*2/3, pause)), s)
	}
}

func (c *Client) after(d time.Duration, s *session) {
	c.renewal = time.AfterFunc(d, func() { c.keep(s) })
}

// keep renews the token of s, or logs in anew where it cannot be renewed, or not for long enough.
func (c *Client) keep(s *session) {
	ttl, err := c.renew(s)
	if err != nil {
		if _, failed := c.login(c.ctx, s); failed == nil {
			return // and the new session has a timer of its own
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.current != s || c.ctx.Err() != nil:
	case err == nil:
		c.refused = 0
		c.schedule(s, ttl)
	default: // the token serves for as long as Vault takes it
		c.refused++
		c.after(c.backOff(c.refused), s)
	}
}

func (c *Client) renew(s *session) (time.Duration, error) {
	if !s.renewable {
		return 0, errors.New("the token cannot be renewed")
	}
	body, err := c.send(c.ctx, s.api, Request{Method: http.MethodPut, Path: "auth/token/renew-self"})
	if err != nil {
		return 0, err
	}
	secret, err := api.ParseSecret(bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	ttl, err := secret.TokenTTL()
	if err == nil && ttl < s.ttl/2 {
		err = errors.New("the token nears its end")
	}
	return ttl, err
}

// backOff returns how long to wait after n failures.
func (c *Client) backOff(n int) time.Duration { return jitter(min(pause<<min(n, 10), longest)) }

// jitter returns between four fifths and all of d, so that many servers do not come at once.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/5+1) }

// Close ends the renewal, and revokes the token if it was made for this client and Vault answers within a second. Later calls fail.
func (c *Client) Close() error {
	c.end()
	c.mu.Lock()
	s := c.current
	c.current = nil
	if c.renewal != nil {
		c.renewal.Stop()
	}
	c.mu.Unlock()
	if s != nil && s.ours && c.Away().IsZero() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = c.send(ctx, s.api, Request{Method: http.MethodPut, Path: "auth/token/revoke-self"}) // else it ends by itself
	}
	c.http.CloseIdleConnections()
	return nil
}
