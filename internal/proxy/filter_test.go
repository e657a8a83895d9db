package proxy

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

func TestWhatGoesOnOfARequest(t *testing.T) {
	plain := filter{inject: "x-key"}
	for _, c := range []struct {
		name        string
		f           filter
		field, text string
		want        string // "": it does not go on
	}{
		{"any", plain, "X-Any", "a", "a"},
		{"the injected one", plain, "X_Key", "a", ""},
		{"hop by hop", plain, "Keep.Alive", "a", ""},
		{"nominated", filter{nominated: map[string]bool{"x-mine": true}}, "X_Mine", "a", ""},
		{"ours", plain, "KEYBEARER_Else", "a", ""},
		{"of a proxy", plain, "Proxy-Else", "a", ""},
		{"forwarded for", plain, "X-Forwarded-For", "a", ""},
		{"an override, the rule open", plain, "X-HTTP-Method", "a", "a"},
		{"an override", filter{strict: true}, "X-HTTP-Method", "a", ""},
		{"something else, the rule narrow", filter{strict: true}, "X-Any", "a", "a"},
		{"basic", plain, "Authorization", "Basic YTpi", "Basic YTpi"},
		{"NTLM", plain, "Authorization", " ntlm abc", ""},
		{"Negotiate", plain, "Authorization", "Negotiate", ""},
		{"Negotiate under another name", plain, "X-Authorization", "Negotiate abc", "Negotiate abc"},
		{"a range", plain, "Range", "bytes=0-1", "bytes=0-1"},
		{"a range of what is scrubbed", filter{scrub: true}, "Range", "bytes=0-1", ""},
		{"something else of what is scrubbed", filter{scrub: true}, "Accept", "a", "a"},
		{"a key of a WebSocket, without one", plain, "Sec-WebSocket-Key", "a", "a"},
		{"a version of a WebSocket, without one", plain, "Sec-WebSocket-Version", "a", "a"},
		{"a key of a WebSocket", filter{upgrade: true}, "Sec-WebSocket-Key", "a", ""},
		{"a version of a WebSocket", filter{upgrade: true}, "Sec-WebSocket-Version", "a", ""},
		{"a protocol of a WebSocket", filter{upgrade: true}, "Sec-WebSocket-Protocol", "a", "a"},
		{"a foreign proof", filter{foreign: recognize{recognizer("foreign")}}, "X-Any", "foreign", ""},
		{"none", filter{foreign: recognize{recognizer("foreign")}}, "X-Any", "else", "else"},
		{"cookies", plain, "Cookie", "a=b", ""},
		{"cookies that may", filter{cookies: true}, "Cookie", "a=b;c=d", "a=b;c=d"},
		{"cookies that may, with a session of the console", filter{cookies: true}, "Cookie", "a=b;__Host-keybearer=x; ;c=d", "a=b; c=d"},
		{"a session of the console alone", filter{cookies: true}, "Cookie", "__Host-keybearer-session=x", ""},
		{"no cookie", filter{cookies: true}, "Cookie", "", ""},
		{"a trace", plain, "Traceparent", "a", ""},
		{"a trace's state", plain, "Tracestate", "a", ""},
		{"a trace's baggage", plain, "Baggage", "a", ""},
		{"a trace that may", filter{trace: true}, "Tracestate", "a", "a"},
		{"baggage that may", filter{trace: true}, "Baggage", "a", "a"},
		{"a Bcookie", plain, "Bcookie", "a", "a"},
	} {
		got, ok := c.f.keep(c.field, c.text)
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s: %q, %v", c.name, got, ok)
		}
	}
}

func TestATokenOfOursInAnyProofIsFound(t *testing.T) {
	secret, _ := keybearer.NewToken(keybearer.CallerTokenPrefix, keybearer.Caller{}.CreatedAt)
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"x-any", "a " + secret.Reveal(), true},
		{"authorization", basicOf("a:" + secret.Reveal()), true},
		{"authorization", basicOf(secret.Reveal() + ":"), true},
		{"authorization", basicOf("a:b"), false},
		{"authorization", "Basic ?", false},
		{"authorization", basicOf("a:b"+secret.Reveal()) + "?", true},
		{"x-any", basicOf("a:" + secret.Reveal()), false}, // nobody reads it as a proof
		{"x-any", "a", false},
	} {
		if got := holdsToken(c.name, c.value); got != c.want {
			t.Errorf("%s: %q: %v", c.name, c.value, got)
		}
	}
}

func TestWhatARequestNominates(t *testing.T) {
	for value, want := range map[string]map[string]bool{
		"": nil, "close": nil, "Keep-Alive, close": nil, " , ": nil, "X-A": {"x-a": true}, "close, X_A ,x.b": {"x-a": true, "x-b": true},
	} {
		for _, name := range []string{"Connection", "proxy-connection"} {
			f := filter{}
			f.nominate([]Field{{"X-Connection", "x-none"}, {name, value}})
			if diff := cmp.Diff(want, f.nominated); diff != "" {
				t.Errorf("%s: %q: %s", name, value, diff)
			}
		}
	}
	for name, want := range map[string]string{"x-a": "x-a", "X-A": "x-a", "x_a": "x-a", "x.a": "x-a", "x-Z": "x-z", "A": "a", "_": "-", ".": "-", "": ""} {
		if got := fold(name); got != want {
			t.Errorf("%q is folded to %q", name, got)
		}
	}
}

func TestWhatComesBackOfAnAnswer(t *testing.T) {
	for name, want := range map[string]bool{
		"X-Any": true, "Server": true, "Trailer": false, "Transfer_Encoding": false, "Proxy-Status": false, "Keybearer-Else": false, "Proxy-Else": false, "X_Mine": false,
	} {
		if got := keepAnswer(name, map[string]bool{"x-mine": true}); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWhichAnswersCanBeScrubbed(t *testing.T) {
	for _, c := range []struct {
		name   string
		scrub  bool
		status int
		coding []string
		body   bool
		want   bool
	}{
		{"plain", true, 200, nil, true, true},
		{"a part", true, 206, nil, true, false},
		{"a part, not scrubbed", false, 206, []string{"gzip"}, true, true},
		{"identity", true, 200, []string{" Identity ,identity"}, true, true},
		{"nothing named", true, 200, []string{"", ","}, true, true},
		{"compressed", true, 200, []string{"gzip"}, true, false},
		{"compressed, behind another", true, 200, []string{"identity", "identity, br"}, true, false},
		{"compressed, without a body", true, 304, []string{"gzip"}, false, true},
	} {
		p := &Pass{filter: filter{scrub: c.scrub}}
		err := p.Scrubbable(c.status, http.Header{"Content-Encoding": c.coding}, c.body)
		if (err == nil) != c.want || err != nil && err.Code != keybearer.DestinationUnreachable {
			t.Errorf("%s: %v", c.name, err)
		}
		if asked := len(p.Plain()) > 0; asked != c.scrub {
			t.Errorf("%s: asked for plain bytes: %v", c.name, asked)
		}
	}
}
