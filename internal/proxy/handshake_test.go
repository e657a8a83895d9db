package proxy

import (
	"net/http"
	"testing"

	"github.com/keybearer/keybearer"
)

func TestWhichRequestsWishForAWebSocket(t *testing.T) {
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	good := map[string][]string{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"}, "Sec-WebSocket-Version": {"13"}, "Sec-WebSocket-Key": {key}}
	for _, c := range []struct {
		name   string
		change func(*Call)
		fields map[string][]string // in place of those of a good one; nil: left out
		wished bool
		wrong  bool
	}{
		{name: "a good one", wished: true},
		{name: "in other words", fields: map[string][]string{"Connection": {"upgrade"}, "Upgrade": {" websocket "}, "Sec-WebSocket-Version": {" 13 "}}, wished: true},
		{name: "two fields of Connection", fields: map[string][]string{"Connection": {"Upgrade", "close"}}, wished: true},
		{name: "a connection that cannot be handed over", change: func(c *Call) { c.Upgradable = false }},
		{name: "no Connection", fields: map[string][]string{"Connection": nil}},
		{name: "another Connection", fields: map[string][]string{"Connection": {"upgraded"}}},
		{name: "no Upgrade", fields: map[string][]string{"Upgrade": nil}},
		{name: "another Upgrade", fields: map[string][]string{"Upgrade": {"h2c"}}},
		{name: "two at once", fields: map[string][]string{"Upgrade": {"websocket, h2c"}}},
		{name: "two fields of Upgrade", fields: map[string][]string{"Upgrade": {"websocket", "websocket"}}},
		{name: "POST", change: func(c *Call) { c.Method = "POST" }, wished: true, wrong: true},
		{name: "with a body", change: func(c *Call) { c.Body = true }, wished: true, wrong: true},
		{name: "no version", fields: map[string][]string{"Sec-WebSocket-Version": nil}, wished: true, wrong: true},
		{name: "another version", fields: map[string][]string{"Sec-WebSocket-Version": {"8"}}, wished: true, wrong: true},
		{name: "two versions", fields: map[string][]string{"Sec-WebSocket-Version": {"13", "8"}}, wished: true, wrong: true},
		{name: "no key", fields: map[string][]string{"Sec-WebSocket-Key": nil}, wished: true, wrong: true},
		{name: "two keys", fields: map[string][]string{"Sec-WebSocket-Key": {key, key}}, wished: true, wrong: true},
		{name: "a key that is no base64", fields: map[string][]string{"Sec-WebSocket-Key": {"?"}}, wished: true, wrong: true},
		{name: "a key of 15 bytes", fields: map[string][]string{"Sec-WebSocket-Key": {"dGhlIHNhbXBsZSBub25j"}}, wished: true, wrong: true},
		{name: "a key and more", fields: map[string][]string{"Sec-WebSocket-Key": {key + "x"}}, wished: true, wrong: true},
		{name: "a key in a spelling of its own", fields: map[string][]string{"Sec-WebSocket-Key": {"dGhlIHNhbXBsZSBub25jZR=="}}, wished: true, wrong: true},
	} {
		call := &Call{Method: "GET", Upgradable: true, Fields: []Field{{"X-Any", "upgrade"}}}
		for name, values := range good {
			if changed, ok := c.fields[name]; ok {
				values = changed
			}
			for _, v := range values {
				call.Fields = append(call.Fields, Field{name, v})
			}
		}
		if c.change != nil {
			c.change(call)
		}
		h := call.handshake()
		if (h != nil) != c.wished {
			t.Errorf("%s: %+v", c.name, h)
			continue
		}
		if !c.wished {
			continue
		}
		if (h.err != nil) != c.wrong || c.wrong == (h.key == key) {
			t.Errorf("%s: %q, %v", c.name, h.key, h.err)
		}
		a := &asks{handshake: h}
		if got, err := a.wish(&keybearer.Terms{WebSocket: true}); got != h || (err != nil) != c.wrong {
			t.Errorf("%s: where it is allowed: %v, %v", c.name, got, err)
		}
		if got, err := a.wish(&keybearer.Terms{}); got != nil || err != nil {
			t.Errorf("%s: where it is not allowed: %v, %v", c.name, got, err)
		}
	}
	if got, err := (&asks{}).wish(&keybearer.Terms{WebSocket: true}); got != nil || err != nil {
		t.Errorf("without a wish: %v, %v", got, err)
	}
}

func TestWhichAnswersMakeAWebSocket(t *testing.T) {
	const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" // RFC 6455 section 1.3
	for _, c := range []struct {
		name   string
		change func(http.Header)
		scrub  bool
		want   bool
	}{
		{"a good one", func(http.Header) {}, false, true},
		{"in other words", func(h http.Header) { h.Set("Upgrade", "WebSocket"); h.Set("Connection", "keep-alive, UPGRADE") }, false, true},
		{"no Upgrade", func(h http.Header) { h.Del("Upgrade") }, false, false},
		{"another Upgrade", func(h http.Header) { h.Set("Upgrade", "h2c") }, false, false},
		{"two of them", func(h http.Header) { h.Add("Upgrade", "websocket") }, false, false},
		{"no Connection", func(h http.Header) { h.Del("Connection") }, false, false},
		{"no accept", func(h http.Header) { h.Del("Sec-Websocket-Accept") }, false, false},
		{"another accept", func(h http.Header) { h.Set("Sec-Websocket-Accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=") }, false, false},
		{"two of them", func(h http.Header) { h.Add("Sec-Websocket-Accept", accept) }, false, false},
		{"an extension", func(h http.Header) { h.Set("Sec-Websocket-Extensions", "permessage-deflate") }, false, true},
		{"an extension where frames are read", func(h http.Header) { h.Set("Sec-Websocket-Extensions", "permessage-deflate") }, true, false},
		{"none where frames are read", func(http.Header) {}, true, true},
	} {
		header := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {accept}}
		c.change(header)
		p := &Pass{handshake: &handshake{key: "dGhlIHNhbXBsZSBub25jZQ=="}, filter: filter{scrub: c.scrub}}
		if err := p.Upgraded(header); (err == nil) != c.want || err != nil && err.Code != keybearer.DestinationUnreachable {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := (&Pass{}).Upgraded(header); err == nil {
			t.Errorf("%s: taken though nobody asked", c.name)
		}
	}
	if (&Pass{}).Upgrade() != nil || len((&Pass{handshake: &handshake{}}).Upgrade()) != 4 {
		t.Error("a WebSocket is asked for by who may not, or not by who may")
	}
}
