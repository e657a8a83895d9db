package e2e

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// A destination that says more than it announced, or nothing that can be parsed, and repeats the secret in it, does not get the
// secret into the server's log.
func TestTheLogQuotesNoDestination(t *testing.T) {
	for name, answer := range map[string]struct{ format, logged string }{
		"more than announced": {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokyou sent %", "Unsolicited response received"},
		"no field":            {"HTTP/1.1 200 OK\r\n%\r\n\r\n", "use failed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.server("api.example.com", harness.ServerOptions{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(rw).Hijack()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, strings.ReplaceAll(answer.format, "%", r.Header.Get("Authorization")))
			})})
			w.billing("api.example.com")
			if resp, err := w.client(t, "billing", "docs/crm").Get("http://api.example.com/"); err == nil {
				resp.Body.Close()
			}
			harness.Await(t, "the line in the log", 10*time.Second, func() error {
				if !strings.Contains(w.Output(t), answer.logged) {
					return errors.New("not yet")
				}
				return nil
			})
			for _, secret := range w.planted {
				// The beginning is letters and digits, and reads the same however it is quoted.
				if strings.Contains(w.Output(t), secret[:20]) {
					t.Error("the log holds a secret")
				}
			}
		})
	}
}
