package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/revocation"
	"github.com/keybearer/keybearer/policy"
)

func TestWhatAFailedRequestIsCalled(t *testing.T) {
	taken := keybearer.NewError(keybearer.CredentialForbidden, "")
	revoked, revoke := context.WithCancelCause(t.Context())
	revoke(taken)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		code keybearer.Code
		op   string
	}{
		{"of ours", gone, &url.Error{Err: keybearer.NewError(keybearer.AddressDenied, "")}, keybearer.AddressDenied, ""},
		{"the leave was taken", revoked, net.ErrClosed, keybearer.CredentialForbidden, ""},
		{"the caller is gone", gone, net.ErrClosed, keybearer.CallerGone, "send"},
		{"revoked", t.Context(), &url.Error{Err: revocation.Refusal("a")}, keybearer.DestinationTLSFailed, "send"},
		{"unknown authority", t.Context(), &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, keybearer.DestinationTLSFailed, "send"},
		{"no TLS", t.Context(), tls.RecordHeaderError{Msg: "a"}, keybearer.DestinationTLSFailed, "send"},
		{"an alert", t.Context(), tls.AlertError(40), keybearer.DestinationTLSFailed, "send"},
		{"an alert of theirs", t.Context(), &net.OpError{Op: "remote error", Err: errors.New("a")}, keybearer.DestinationTLSFailed, "send"},
		{"an alert of ours", t.Context(), &net.OpError{Op: "local error", Err: errors.New("a")}, keybearer.DestinationTLSFailed, "send"},
		{"a reset", t.Context(), &net.OpError{Op: "read", Err: syscall.ECONNRESET}, keybearer.DestinationUnreachable, "send"},
		{"late", t.Context(), &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, keybearer.DestinationTimeout, "send"},
		{"anything", t.Context(), errors.New("a"), keybearer.DestinationUnreachable, "send"},
	} {
		if got := sendError(c.ctx, c.err); got.Code != c.code || got.Op != c.op {
			t.Errorf("%s: %s of %q", c.name, got.Code, got.Op)
		}
	}
	if ended(t.Context()) != nil || !errors.Is(ended(revoked), taken) {
		t.Error("why a request has ended is not what ended it")
	}
}

func TestWhichAnswersMayHaveABody(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
		length int64
		want   bool
	}{
		{"GET", 200, -1, true}, {"GET", 200, 1, true}, {"POST", 500, 1, true},
		{"HEAD", 200, 1, false}, {"GET", 204, -1, false}, {"GET", 304, 1, false}, {"GET", 200, 0, false},
	} {
		if got := hasBody(c.method, &http.Response{StatusCode: c.status, ContentLength: c.length}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestTheRequestLineIsWrittenAsItWasJudged(t *testing.T) {
	d := &policy.Destination{Scheme: "https", Host: "h.example", Port: 443}
	for _, target := range []string{"/", "/?", "/a%2Fb?q=%20", "/a/../b", "//", "//a", "//a%2Fb", "//a?", "//a?b?c", "/a//b?"} {
		if got := (&http.Request{URL: targetURL(d, target)}).URL.RequestURI(); got != target {
			t.Errorf("%q is written as %q", target, got)
		}
	}
}
