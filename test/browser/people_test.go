package browser

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/keybearer/keybearer/test/browser/play"
)

func TestScopesAreManagedInTheBrowser(t *testing.T) {
	w := newWorld(t)
	w.play("scopes", nil, map[string]play.Call{"stall": w.stall, "resume": w.resume})
}

func TestCallersAndOperatorsAreManagedInTheBrowser(t *testing.T) {
	w := newWorld(t)
	w.play("callers", nil, map[string]play.Call{"through": through})
}

// stall keeps the keyring from writing, so that long work on a scope waits; resume lets it go on.
func (w *world) stall(args []json.RawMessage) (any, error) {
	ring := w.ring()
	if err := os.Rename(ring, ring+".kept"); err != nil {
		return nil, err
	}
	return nil, os.MkdirAll(filepath.Join(ring, "in-the-way"), 0o700)
}

func (w *world) resume(args []json.RawMessage) (any, error) {
	ring := w.ring()
	if err := os.RemoveAll(ring); err != nil {
		return nil, err
	}
	return nil, os.Rename(ring+".kept", ring)
}

func (w *world) ring() string { return filepath.Join(w.Home, "keyring.key.ring") }

// through(line, credential, url) sends a POST as an app does that has the line HTTP_PROXY=… in its environment, and names the credential itself
// unless that is "". It gives the status.
func through(args []json.RawMessage) (any, error) {
	var line, credential, to string
	if err := play.Arguments(args, &line, &credential, &to); err != nil {
		return nil, err
	}
	proxy, err := url.Parse(line[len("HTTP_PROXY="):])
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(http.MethodPost, to, http.NoBody)
	if err != nil {
		return nil, err
	}
	if credential != "" {
		r.Header.Set("Keybearer-Credential", credential)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy)}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
