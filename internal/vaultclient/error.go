package vaultclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"

	"github.com/keybearer/keybearer"
)

// Error is why a call gave nothing. It holds no token and nothing of a body that was sent.
type Error struct {
	Method, Path string
	Status       int    // of Vault's answer; 0: there was none
	Messages     string // what Vault said about it, for logs
	Nothing      bool   // Vault itself said that nothing is there, as no proxy or error page in front of it does
	Login        bool   // it happened while logging in
	Err          error  // cause, where there is no answer

	body    []byte // of the answer
	foreign bool   // which is no answer of Vault's, but of something before it
}

// Error says what was asked and what came back.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("vault: ")
	if e.Login {
		b.WriteString("log in: ")
	}
	fmt.Fprintf(&b, "%s %s: ", e.Method, e.Path)
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d %s", e.Status, e.Messages)
	} else {
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// errLocal marks what went wrong on this side before Vault was asked.
var errLocal = errors.New("not asked")

// Away reports whether nobody answered: the connection failed or ended, Vault is sealed, a standby, overloaded, or has an error of its own.
// So is what does not come from Vault but from something before it. Everything else is an answer, and so is a file for the login that
// cannot be read.
func (e *Error) Away() bool {
	switch {
	case e.foreign:
		return true
	case e.Status == 0:
		return !errors.Is(e.Err, errLocal)
	case e.Status >= 500, e.Status >= 300 && e.Status < 400:
		return true
	}
	return e.Status == http.StatusTooManyRequests || e.Status == 472 || e.Status == 473 // standby kinds, see sys/health
}

// Away reports whether err is an [Error] that says so. Any other error is not.
func Away(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Away()
}

// Status returns the status of the answer that err tells of; 0 where there is none.
func Status(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

// brokenOff reports whether there was a connection, and it ended without an answer.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// absent is what the breaker counts: a caller that went away says nothing about Vault.
func absent(err error) bool { return Away(err) && !errors.Is(err, context.Canceled) }

// Describe turns an error of this package into one of Keybearer, with this code, and a detail and a hint that fit it.
func Describe(code keybearer.Code, op string, err error) *keybearer.Error {
	k := &keybearer.Error{Code: code, Op: op, Err: err}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return k
	}
	k.Detail, k.Hint = e.explain()
	return k
}

func (e *Error) explain() (detail, hint string) {
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](e.Err)
	switch {
	case badCertificate:
		return "Vault's certificate could not be verified", "name the authority that issued it with ca, and its name with server_name"
	case errors.Is(e.Err, errLocal):
		return "what logs in to Vault cannot be read", "check the files that auth names, and their permissions"
	case e.Status == http.StatusServiceUnavailable:
		return "Vault is sealed or not ready", "unseal it: vault operator unseal"
	case e.Status == http.StatusTooManyRequests:
		return "Vault refuses more requests", "raise its rate limit quota for this client"
	case e.Status == 472 || e.Status == 473 || e.Status >= 300 && e.Status < 400:
		return "this Vault is a standby", "point address at the active node or a load balancer that knows it"
	case e.Away():
		return "Vault does not answer", "check that it runs and that address is right"
	case e.Login:
		return "Vault refuses the login", e.loginHint()
	case e.Status == http.StatusForbidden:
		return "Vault refuses this to the role", "keybearer doctor shows which policy lacks what"
	}
	return "", ""
}

func (e *Error) loginHint() string {
	switch {
	case strings.Contains(e.Path, "wrapping"):
		return "the wrapping token was used or has expired: if not by this server, treat the secret id as stolen; write a new wrapped one into the file"
	case strings.Contains(e.Messages, "secret id") || strings.Contains(e.Messages, "secret ID"):
		return "the secret id is used up, expired or of another role: write a new one into the file, and check role_id"
	case strings.HasPrefix(e.Path, "auth/token/"):
		return "the token has expired or was revoked: write a new one into the file"
	}
	return "check that the auth method is mounted there (vault auth list), and the role, its bindings and the files that auth names"
}
