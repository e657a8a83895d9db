package main

import (
	"cmp"
	"fmt"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// tokenLines are what to do with a new token, ready to be pasted; each is given the token.
type tokenLines []func(token string) string

// printToken writes a new token alone, or with its record if another format was asked for. At a terminal it tells what to do with it. It is
// the one place where the command line prints a secret.
func (c *cli) printToken(issued any, token admin.Plaintext, lines tokenLines) error {
	if c.format == asJSON || c.format == asYAML {
		return c.encode(issued)
	}
	if token.IsZero() {
		return nil
	}
	atTerminal := isTerminal(c.out)
	if atTerminal {
		c.note("its token, shown this once:")
	}
	if _, err := fmt.Fprintln(c.out, token.Reveal()); err != nil || !atTerminal || !isTerminal(c.err) {
		return err
	}
	for _, line := range lines {
		c.note("%s", line(token.Reveal()))
	}
	return nil
}

// callerLines send a first request as the caller, with a credential that is still to be named.
func (c *cli) callerLines(x admin.Caller) tokenLines {
	scope := keybearer.GlobalScope
	if len(x.Scopes) > 0 {
		scope = x.Scopes[0]
	}
	proxy := "127.0.0.1:" + cmp.Or(c.getenv("KEYBEARER_PORT"), "9080")
	return tokenLines{
		func(string) string {
			return fmt.Sprintf("with a credential that it was granted (keybearer grant add %s/NAME app:%s use), through the proxy where that listens by default:", scope, x.Name)
		},
		func(token string) string {
			return fmt.Sprintf("  curl -x http://%s -H 'Proxy-Authorization: Bearer %s' -H 'Keybearer-Credential: %s/NAME' http://HOST/", proxy, token, scope)
		},
		func(token string) string {
			return fmt.Sprintf("  HTTP_PROXY=http://%s%%2FNAME:%s@%s", scope, token, proxy)
		},
	}
}

// operatorLines let a command ask as the operator.
func (c *cli) operatorLines() tokenLines {
	return tokenLines{
		func(string) string {
			return "to ask as this operator, from elsewhere than the socket, keep the token in a file:"
		},
		func(string) string {
			return "  KEYBEARER_ADDR=https://HOST:9081 KEYBEARER_TOKEN_FILE=FILE keybearer whoami"
		},
	}
}
