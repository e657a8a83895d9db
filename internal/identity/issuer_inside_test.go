package identity

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keybearer/keybearer/test/harness"
)

const idp = "https://idp.example.com"

func rewrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func followed(t *testing.T, c IssuerConfig) *Issuer {
	t.Helper()
	c.Issuer, c.Audience = idp, "keybearer"
	i, err := OpenIssuer(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

func TestWhichAddressesAreSecure(t *testing.T) {
	for text, want := range map[string]bool{
		"https://h": true, "https://h:8443/keys?x": true,
		"http://h": false, "https://": false, "https:///keys": false, "https:h": false, "https://u@h": false, "https://u:p@h": false, "h": false, "": false, "https://[": false,
	} {
		if secure(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
	for _, c := range []IssuerConfig{{JWKSFile: "keys.json"}, {JWKSURL: "https://h/keys"}} { // then the issuer's name may be any
		c.Issuer, c.Audience = "the one", "keybearer"
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	}
	c := IssuerConfig{Issuer: idp, Audience: "keybearer", Algorithms: []string{"RS256", "ES512"}}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotSaidOfAnIssuerHasADefault(t *testing.T) {
	file := harness.WriteFile(t, filepath.Join(t.TempDir(), "keys.json"), harness.JWKS(harness.NewKey(t, "a", "ES256")))
	i := followed(t, IssuerConfig{JWKSFile: file})
	if i.config.Wait != waitForKeys || i.config.Now == nil || i.config.Logger == nil || len(i.allowed) != len(DefaultAlgorithms) {
		t.Errorf("%+v allows %v", i.config, i.allowed)
	}
	logger, at := slog.New(slog.DiscardHandler), time.Unix(1_800_000_000, 0)
	i = followed(t, IssuerConfig{JWKSFile: file, Wait: time.Minute, Now: func() time.Time { return at }, Logger: logger, Algorithms: []string{"ES512"}})
	if i.config.Wait != time.Minute || !i.config.Now().Equal(at) || i.config.Logger != logger || !slices.Equal(i.allowed, []jose.SignatureAlgorithm{"ES512"}) {
		t.Errorf("%+v allows %v", i.config, i.allowed)
	}
	for want, c := range map[string]IssuerConfig{"file": {JWKSFile: "file", Issuer: idp}, "url": {JWKSURL: "url", Issuer: idp}, idp: {Issuer: idp}} {
		if got := (&Issuer{config: c}).place(); got != want {
			t.Errorf("the keys are at %s, not at %s", got, want)
		}
	}
}

func TestHowOftenKeysAreAskedFor(t *testing.T) {
	away := errors.New("away")
	byFile, byURL := &Issuer{config: IssuerConfig{JWKSFile: "f"}}, &Issuer{config: IssuerConfig{JWKSURL: "u"}}
	if byFile.pause(nil) != watchEvery || byFile.pause(away) != watchEvery || byURL.pause(away) != retryEvery {
		t.Error(byFile.pause(nil), byFile.pause(away), byURL.pause(away))
	}
	if p := byURL.pause(nil); p > refreshEvery || p <= refreshEvery*9/10 {
		t.Error(p)
	}
}

// The first answer decides when to ask again.
func TestKeysThatCannotBeHadAreAskedForSoonAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		i := followed(t, IssuerConfig{JWKSURL: "https://h/keys", CA: "/nonexistent"})
		time.Sleep(3*retryEvery + 1)
		i.mu.Lock()
		defer i.mu.Unlock()
		if at := i.begun.Sub(began); at != 3*retryEvery {
			t.Errorf("asked the last time after %v", at)
		}
	})
}

// lines are what a logger was told, without its time.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) take() (warnings, news int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return strings.Count(l.text.String(), "level=WARN"), strings.Count(l.text.String(), "level=INFO")
}

// The operator hears of each trouble with the keys once, and of its end.
func TestTroubleWithKeysIsToldOnce(t *testing.T) {
	file := harness.WriteFile(t, filepath.Join(t.TempDir(), "keys.json"), harness.JWKS(harness.NewKey(t, "a", "ES256")))
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		i := followed(t, IssuerConfig{JWKSFile: file, Logger: slog.New(slog.NewTextHandler(log, nil))})
		for _, step := range []struct {
			text           string
			warnings, news int
		}{
			{string(good), 0, 0},
			{"{}", 1, 0},
			{"[]", 0, 0}, // the same trouble
			{strings.Repeat(" ", maxDocument+1), 1, 0},
			{string(good), 0, 1},
			{"{}", 1, 0},
		} {
			rewrite(t, file, step.text)
			time.Sleep(3 * watchEvery)
			synctest.Wait()
			if w, n := log.take(); w != step.warnings || n != step.news {
				t.Errorf("%.20q: %d warnings, %d news", step.text, w, n)
			}
		}
		if i.known() == nil {
			t.Error("what was known is forgotten")
		}
	})
}

// A fetch that ends since nobody follows the keys any more is no trouble, and no other begins.
func TestAClosedIssuerAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		i := &Issuer{config: IssuerConfig{JWKSFile: "/nonexistent", Logger: slog.New(slog.NewTextHandler(log, nil))}}
		i.ctx, i.stop = context.WithCancel(t.Context())
		asked := 0
		i.config.Now = func() time.Time {
			if asked++; asked == 2 { // by the fetch
				i.stop()
			}
			return time.Now()
		}
		<-i.ask(0)
		synctest.Wait()
		if w, n := log.take(); w+n != 0 || asked != 2 {
			t.Errorf("%d warnings, %d news after %d times", w, n, asked)
		}
		time.Sleep(time.Hour)
		if i.ask(0) != nil {
			t.Error("it asks again")
		}
	})
}

func TestKeysThatAreTheSameStayAndAreKnownForLonger(t *testing.T) {
	a, b := harness.JWKS(harness.NewKey(t, "a", "ES256")), harness.JWKS(harness.NewKey(t, "b", "ES256"))
	file := harness.WriteFile(t, filepath.Join(t.TempDir(), "keys.json"), a)
	now := time.Now()
	i := &Issuer{config: IssuerConfig{JWKSFile: file, Wait: time.Minute, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler)}}
	i.ctx, i.stop = context.WithCancel(t.Context())
	rewrite(t, file, "")
	if err := i.fetch(); err == nil {
		t.Error("nothing is taken for keys")
	}
	fetch := func(text []byte) *belief {
		t.Helper()
		rewrite(t, file, string(text))
		if err := i.fetch(); err != nil {
			t.Fatal(err)
		}
		return i.believed.Load()
	}
	first := fetch(a)
	now = now.Add(time.Hour)
	again := fetch(a)
	if again.keys != first.keys || !again.at.Equal(now) {
		t.Error("the same document makes other keys, or is as old as before")
	}
	other := fetch(b)
	if other.keys == first.keys || other.keys.keys[0].id != "b" || fetch(b).keys != other.keys || fetch(a).keys == first.keys {
		t.Error("another document makes the same keys")
	}
	last := i.believed.Load().keys
	rewrite(t, file, "{}")
	if err := i.fetch(); err == nil || !strings.Contains(err.Error(), file) || i.believed.Load().keys != last {
		t.Errorf("what cannot be used: %v", err)
	}
	_ = os.Remove(file)
	if err := i.fetch(); !errors.Is(err, os.ErrNotExist) || i.believed.Load().keys != last {
		t.Errorf("what is not there: %v", err)
	}

	// Who knows the keys asks nobody, as long as they are known.
	now = now.Add(keepKeys - 1)
	if keys, err := i.keys(t.Context()); keys != last || err != nil || !i.begun.IsZero() {
		t.Error(keys, err, i.begun)
	}
	now = now.Add(1)
	if i.known() != nil {
		t.Error("keys that nobody could confirm for a day are believed")
	}
	if keys, err := i.keys(t.Context()); keys != nil || err != errAway || i.begun.IsZero() {
		t.Error(keys, err)
	}
	if keys, err := i.renewed(t.Context(), last); keys != last || err != nil {
		t.Error(keys, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	now = now.Add(time.Hour)
	i.group.Wait()
	i.flight = make(chan struct{}) // one that does not end
	if _, err := i.keys(gone); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := i.await(gone, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := i.await(t.Context(), nil); err != nil { // who waited would wait for a minute
		t.Error(err)
	}
}

// A new key in a file is found by the request that names it a quarter of a second after the last look, and at an address after ten.
func TestHowSoonANewKeyIsAskedFor(t *testing.T) {
	now := time.Now()
	for pause, c := range map[time.Duration]IssuerConfig{watchEvery / 4: {JWKSFile: "/nonexistent"}, retryEvery: {JWKSURL: "https://h/", CA: "/nonexistent"}} {
		c.Now, c.Logger, c.Wait = func() time.Time { return now }, slog.New(slog.DiscardHandler), time.Minute
		i := &Issuer{config: c, begun: now}
		i.ctx, i.stop = context.WithCancel(t.Context())
		began := now
		for after, asks := range map[time.Duration]bool{pause - 1: false, pause: true} {
			i.begun, now = began, began.Add(after)
			if _, err := i.renewed(t.Context(), nil); err != nil || i.begun.Equal(now) != asks {
				t.Errorf("%v after the last time: asked %v, %v", after, i.begun.Equal(now), err)
			}
		}
		i.group.Wait()
	}
}

func TestHowKeysAreFetched(t *testing.T) {
	var asked []string
	mux := http.NewServeMux()
	s := httptest.NewTLSServer(mux)
	defer s.Close()
	answer := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, strings.TrimSpace(path+" "+r.Header.Get("Accept")+" "+r.Header.Get("Authorization")))
			_, _ = io.WriteString(w, body)
		})
	}
	answer("/keys", "the keys")
	answer("/good/.well-known/openid-configuration", fmt.Sprintf(`{"issuer":"%s/good/","jwks_uri":"%[1]s/keys"}`, s.URL))
	answer("/other/.well-known/openid-configuration", fmt.Sprintf(`{"issuer":"%s/good","jwks_uri":"%[1]s/keys"}`, s.URL))
	answer("/plain/.well-known/openid-configuration", fmt.Sprintf(`{"issuer":"%s/plain","jwks_uri":"http://h/keys"}`, s.URL))
	answer("/text/.well-known/openid-configuration", "hello")
	for _, status := range []int{201, 204, 299, 300, 302, 399, 400, 404, 500} {
		mux.HandleFunc(fmt.Sprint("/", status), func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
	}
	dir := t.TempDir()
	ca := harness.WriteFile(t, filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	token := harness.WriteFile(t, filepath.Join(dir, "token"), []byte("tok\n"))
	empty := harness.WriteFile(t, filepath.Join(dir, "empty"), nil)
	const json = "application/json"
	for _, c := range []struct {
		name  string
		c     IssuerConfig
		says  string // of an error; "": none
		asked []string
	}{
		{"address", IssuerConfig{JWKSURL: s.URL + "/keys", CA: ca}, "", []string{"/keys " + json}},
		{"address with a token", IssuerConfig{JWKSURL: s.URL + "/keys", CA: ca, TokenFile: token}, "", []string{"/keys " + json + " Bearer tok"}},
		{"address, no token there", IssuerConfig{JWKSURL: s.URL + "/keys", CA: ca, TokenFile: "/nonexistent"}, "no such file", nil},
		{"discovery", IssuerConfig{Issuer: s.URL + "/good/", CA: ca, TokenFile: token}, "", []string{"/good/.well-known/openid-configuration " + json, "/keys " + json}},
		{"discovery of another", IssuerConfig{Issuer: s.URL + "/other", CA: ca}, "of another issuer", []string{"/other/.well-known/openid-configuration " + json}},
		{"discovery of an address in clear", IssuerConfig{Issuer: s.URL + "/plain", CA: ca}, "no https address", []string{"/plain/.well-known/openid-configuration " + json}},
		{"discovery of a text", IssuerConfig{Issuer: s.URL + "/text", CA: ca}, "not JSON", []string{"/text/.well-known/openid-configuration " + json}},
		{"discovery of nothing", IssuerConfig{Issuer: s.URL + "/none", CA: ca}, "answers 404", nil},
		{"a server that nobody vouches for", IssuerConfig{JWKSURL: s.URL + "/keys", Roots: x509.NewCertPool()}, "unknown authority", nil},
		{"roots that are not there", IssuerConfig{JWKSURL: s.URL + "/keys", CA: "/nonexistent"}, "no such file", nil},
		{"roots that are none", IssuerConfig{JWKSURL: s.URL + "/keys", CA: empty}, "no certificate", nil},
		{"no address", IssuerConfig{JWKSURL: "https://[", CA: ca}, "missing ']'", nil},
		{"201", IssuerConfig{JWKSURL: s.URL + "/201", CA: ca}, "answers 201", nil},
		{"299", IssuerConfig{JWKSURL: s.URL + "/299", CA: ca}, "answers 299", nil},
		{"300", IssuerConfig{JWKSURL: s.URL + "/300", CA: ca}, "redirects are not followed", nil},
		{"302", IssuerConfig{JWKSURL: s.URL + "/302", CA: ca}, "redirects are not followed", nil},
		{"399", IssuerConfig{JWKSURL: s.URL + "/399", CA: ca}, "redirects are not followed", nil},
		{"400", IssuerConfig{JWKSURL: s.URL + "/400", CA: ca}, "answers 400", nil},
		{"500", IssuerConfig{JWKSURL: s.URL + "/500", CA: ca}, "answers 500", nil},
	} {
		asked = nil
		got, err := (&Issuer{config: c.c}).load(t.Context())
		if c.says == "" && (err != nil || string(got) != "the keys") || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if c.c.JWKSURL != "" && strings.Contains(c.says, "answers 2") != (err != nil && strings.Contains(err.Error(), "answers 2")) || !strings.Contains(c.says, "redirects") && err != nil && strings.Contains(err.Error(), "redirects") {
			t.Errorf("%s: %v", c.name, err)
		}
		if !slices.Equal(asked, c.asked) {
			t.Errorf("%s: asked for %q", c.name, asked)
		}
	}
}

func TestDocumentsAreBounded(t *testing.T) {
	for size, want := range map[int]bool{0: true, maxDocument: true, maxDocument + 1: false, maxDocument + 2: false} {
		if b, err := bounded(bytes.NewReader(make([]byte, size)), "it"); (err == nil) != want || want && len(b) != size {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	broken := errors.New("broken")
	if _, err := bounded(io.MultiReader(bytes.NewReader(make([]byte, 10)), iotest.ErrReader(broken)), "it"); !errors.Is(err, broken) {
		t.Errorf("a reader that breaks: %v", err)
	}
	if _, err := readBounded(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
