package examples

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

const body = `{"text": "deployed"}`

// signature is the HMAC that the receivers ask for.
func signature(key, message string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(message))
	return hex.EncodeToString(mac.Sum(nil))
}

// slackLike and githubLike are the header fields of a signed request.
func slackLike(at time.Time, key, message string) http.Header {
	stamp := fmt.Sprint(at.Unix())
	return http.Header{"X-Slack-Request-Timestamp": {stamp}, "X-Slack-Signature": {"v0=" + signature(key, "v0:"+stamp+":"+message)}}
}

func githubLike(delivery, key, message string) http.Header {
	h := http.Header{"X-Hub-Signature-256": {"sha256=" + signature(key, message)}}
	if delivery != "" {
		h.Set("X-Github-Delivery", delivery)
	}
	return h
}

// The receivers are asked without Keybearer, one of their checks after the other; then through it, by an app that signs.
func (w *world) verify(t *testing.T) {
	now := time.Now()
	bearer := []string{"Bearer " + secret}
	again := slackLike(now.Add(-time.Minute), signingKey, body)
	cases := []struct {
		name          string
		path          string
		authorization []string
		contentType   string
		header        http.Header
		body          string
		want          int
	}{
		{"no credential", "/hook", nil, "application/json", nil, body, 401},
		{"a wrong credential", "/hook", []string{"Bearer wrong"}, "application/json", nil, body, 401},
		{"a part of the credential", "/hook", []string{bearer[0][:len(bearer[0])-1]}, "application/json", nil, body, 401},
		{"another scheme", "/hook", []string{"Basic " + secret}, "application/json", nil, body, 401},
		{"two credentials", "/hook", []string{bearer[0], bearer[0]}, "application/json", nil, body, 401},
		{"the credential", "/hook", bearer, "application/json; charset=utf-8", nil, body, 200},
		{"the next credential", "/hook", []string{"Bearer the-next-secret"}, "application/json", nil, body, 200},
		{"a form", "/hook", bearer, "application/x-www-form-urlencoded", nil, "text=deployed", 415},
		{"no JSON", "/hook", bearer, "application/json", nil, "deployed", 400},
		{"too much", "/hook", bearer, "application/json", nil, `"` + strings.Repeat("a", 64<<10) + `"`, 413},
		{"elsewhere", "/other", bearer, "application/json", nil, body, 404},

		{"Slack-like", "/slack", bearer, "application/json", slackLike(now, signingKey, body), body, 200},
		{"Slack-like, without the credential", "/slack", nil, "application/json", slackLike(now, signingKey, body), body, 401},
		{"Slack-like, not signed", "/slack", bearer, "application/json", nil, body, 403},
		{"Slack-like, another key", "/slack", bearer, "application/json", slackLike(now, "another", body), body, 403},
		{"Slack-like, another body", "/slack", bearer, "application/json", slackLike(now, signingKey, body), body + " ", 403},
		{"Slack-like, too old", "/slack", bearer, "application/json", slackLike(now.Add(-time.Hour), signingKey, body), body, 403},
		{"Slack-like, from the future", "/slack", bearer, "application/json", slackLike(now.Add(time.Hour), signingKey, body), body, 403},
		{"Slack-like, a minute old", "/slack", bearer, "application/json", again, body, 200},
		{"Slack-like, replayed", "/slack", bearer, "application/json", again, body, 409},

		{"GitHub-like", "/github", bearer, "application/json", githubLike("one", signingKey, body), body, 200},
		{"GitHub-like, without the credential", "/github", nil, "application/json", githubLike("two", signingKey, body), body, 401},
		{"GitHub-like, not signed", "/github", bearer, "application/json", http.Header{"X-Github-Delivery": {"three"}}, body, 403},
		{"GitHub-like, another key", "/github", bearer, "application/json", githubLike("four", "another", body), body, 403},
		{"GitHub-like, another body", "/github", bearer, "application/json", githubLike("five", signingKey, body), body + " ", 403},
		{"GitHub-like, replayed", "/github", bearer, "application/json", githubLike("one", signingKey, body), body, 409},
		{"GitHub-like, no delivery", "/github", bearer, "application/json", githubLike("", signingKey, body), body, 409},
	}
	for host, r := range w.receivers {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.ca.Pool, ServerName: host, MinVersion: tls.VersionTLS12}}
		t.Cleanup(transport.CloseIdleConnections)
		for _, c := range cases {
			t.Run(host+", "+c.name, func(t *testing.T) {
				req, err := http.NewRequest("POST", "https://"+r.addr.String()+c.path, strings.NewReader(c.body))
				if err != nil {
					t.Fatal(err)
				}
				if c.header != nil {
					req.Header = c.header.Clone()
				}
				req.Header.Set("Content-Type", c.contentType)
				if c.authorization != nil {
					req.Header["Authorization"] = c.authorization
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != c.want {
					t.Errorf("status %d, want %d: %s", resp.StatusCode, c.want, text)
				}
				w.silent(t, string(text))
			})
		}
		t.Run(host+", through Keybearer", func(t *testing.T) {
			t.Parallel()
			right := harness.WriteFile(t, filepath.Join(harness.Dir(t), "key"), []byte(signingKey+"\n"))
			wrong := harness.WriteFile(t, filepath.Join(harness.Dir(t), "key"), []byte("another"))
			for _, like := range []string{"slack", "github"} {
				if r := w.signed(t, host, right, like); r.Code != 0 {
					t.Errorf("%s: exit code %d: %s", like, r.Code, r.Stderr)
				} else {
					w.received(t, host, "/"+like, r.Stdout)
				}
				if r := w.signed(t, host, wrong, like); r.Code == 0 || r.Stderr != "the destination answered 403\n" {
					t.Errorf("%s with a wrong key: exit code %d: %s", like, r.Code, r.Stderr)
				}
			}
		})
	}
}

// signed runs the client that signs.
func (w *world) signed(t *testing.T, host, key, like string) harness.Result {
	t.Helper()
	c := w.command(t, "webhooks/signed.py")
	c.Args = append(c.Args, like)
	c.Env = append(w.reader(c.Dir, w.Proxy, host, "docs/crm", w.token), "SIGNING_KEY_FILE="+key)
	r := harness.Run(t, c, "")
	w.silent(t, r.Stdout+r.Stderr)
	return r
}
