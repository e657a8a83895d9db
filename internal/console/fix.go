package console

import (
	"net/url"
	"strconv"

	"github.com/keybearer/keybearer"
)

// Fix is what would mend a refusal: a page of the console with what is needed filled in.
type Fix struct{ Text, To string }

// fixFor returns the page on which the reason of a refused or failed use is mended; nil where no page does. What it fills in is what the event
// says: whoever follows it still decides.
func fixFor(e *keybearer.Event) *Fix {
	if e.Scope == "" || e.Credential == "" {
		return nil
	}
	at := credentialPath(e.Scope, e.Credential)
	with := func(page string, pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return at + page + "?" + v.Encode()
	}
	switch e.Code {
	case keybearer.CredentialForbidden:
		subject := "app:" + e.Caller
		if e.Caller == "" {
			return nil
		}
		return &Fix{"Grant use to " + subject, with("/permissions", "subject", subject, "level", "use")}
	case keybearer.DestinationNotAllowed:
		if e.Host == "" {
			return nil
		}
		return &Fix{"Add " + e.Host + " to the domains", with("/domains", "rule", originOf(e))}
	case keybearer.MethodNotAllowed:
		return &Fix{"Let the rule admit " + e.Method, with("/domains", "rule", originOf(e), "method", e.Method)}
	case keybearer.AddressDenied:
		return &Fix{"Mark the rule private", with("/domains", "rule", originOf(e), "private", "on")}
	case keybearer.CredentialDisabled:
		return &Fix{"Enable it", at + "/danger"}
	case keybearer.CredentialDeleted:
		return &Fix{"Restore it", at + "/danger"}
	case keybearer.CredentialExpired:
		return &Fix{"Set a later expiry", at + "/edit"}
	case keybearer.CredentialNeedsSecret:
		return &Fix{"Set its secret", at + "/secret"}
	case keybearer.UserRequired:
		return &Fix{"Look at what it requires", at + "/edit"}
	case keybearer.DestinationTLSFailed, keybearer.DestinationUnreachable, keybearer.DestinationTimeout:
		return &Fix{"Check the request", with("/check", "caller", e.Caller, "method", e.Method, "url", originOf(e)+e.Path)}
	}
	return nil
}

// originOf is the destination of an event as a rule is written.
func originOf(e *keybearer.Event) string {
	port := ""
	if e.Port != 0 && !(e.Scheme == "https" && e.Port == 443) && !(e.Scheme == "http" && e.Port == 80) {
		port = ":" + strconv.Itoa(int(e.Port))
	}
	scheme := e.Scheme
	if scheme == "" {
		scheme = "https"
	}
	return scheme + "://" + e.Host + port
}
