package caddymodule

import (
	"bytes"
	"io"
	"log"
)

// muteQuotes keeps what destinations send out of the log. When one sends more than it announced, net/http prints the beginning of
// it by the standard log, which Caddy redirects to its own; and a destination can send back the secret. Nothing else in net/http's
// client prints what it received. It is called after each change of the configuration, since that redirects anew.
func muteQuotes() {
	if _, muted := log.Writer().(unquoted); !muted {
		log.SetOutput(unquoted{log.Writer()})
	}
}

// unquoted cuts the one message that quotes.
type unquoted struct{ io.Writer }

var quoting = []byte("Unsolicited response received on idle HTTP channel")

func (u unquoted) Write(p []byte) (int, error) {
	if i := bytes.Index(p, quoting); i >= 0 {
		_, err := u.Writer.Write(append(bytes.Clone(p[:i+len(quoting)]), '\n'))
		return len(p), err
	}
	return u.Writer.Write(p)
}
