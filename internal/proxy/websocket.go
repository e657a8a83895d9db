package proxy

import (
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/keybearer/keybearer"
)

// handshake is the wish of a request to become a WebSocket (RFC 6455 section 4.1).
type handshake struct {
	key string
	err *keybearer.Error // what is wrong with it; of no concern where the credential allows none
}

// handshake finds the wish; nil: there is none. An Upgrade that names anything else, be it beside websocket, is none, and is removed
// like any other: so nothing but a WebSocket ever comes of a request.
func (c *Call) handshake() *handshake {
	if !c.Upgradable || !c.wantsUpgrade() {
		return nil
	}
	var versions, keys []string
	for _, f := range c.Fields {
		switch fold(f.Name) {
		case "sec-websocket-version":
			versions = append(versions, strings.TrimSpace(f.Value))
		case "sec-websocket-key":
			keys = append(keys, strings.TrimSpace(f.Value))
		}
	}
	h := &handshake{}
	switch {
	case c.Method != http.MethodGet:
		h.err = handshakeError("a WebSocket is asked for with GET")
	case c.Body:
		h.err = handshakeError("a request for a WebSocket has no body")
	case len(versions) != 1 || versions[0] != "13":
		h.err = handshakeError("the version of WebSocket is not 13")
	case len(keys) != 1 || !nonce(keys[0]):
		h.err = handshakeError("the key of the WebSocket is not 16 bytes in base64, once")
	default:
		h.key = keys[0]
	}
	return h
}

// wantsUpgrade reports whether one Upgrade names websocket and nothing else, and Connection names Upgrade. Neither name has an alias to be folded.
func (c *Call) wantsUpgrade() bool {
	named, wanted := 0, false
	for _, f := range c.Fields {
		switch {
		case strings.EqualFold(f.Name, "Upgrade"):
			if named++; !strings.EqualFold(strings.TrimSpace(f.Value), "websocket") {
				return false
			}
		case strings.EqualFold(f.Name, "Connection"):
			for option := range strings.SplitSeq(f.Value, ",") {
				wanted = wanted || strings.EqualFold(strings.TrimSpace(option), "upgrade")
			}
		}
	}
	return named == 1 && wanted
}

func handshakeError(detail string) *keybearer.Error {
	return keybearer.NewError(keybearer.BadRequest, detail).WithHint("open it as RFC 6455 section 4.1 says, which every WebSocket client does")
}

func nonce(key string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(key)
	return err == nil && len(b) == 16
}

// wish returns the handshake that the row of the credential leaves to a request; nil: none. The sealed terms have still to leave it too.
func (a *asks) wish(terms *keybearer.Terms) (*handshake, *keybearer.Error) {
	if a.handshake == nil || !terms.WebSocket {
		return nil, nil
	}
	return a.handshake, a.handshake.err
}

// Upgrade returns the fields with which the request asks the destination for a WebSocket, to be written beside those that Keep leaves. Without the
// credential's leave, or without the app's wish, there are none: then an answer of 101 is an error.
func (p *Pass) Upgrade() []Field {
	if p.handshake == nil {
		return nil
	}
	return []Field{
		{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-Websocket-Version", "13"}, {"Sec-Websocket-Key", p.handshake.key},
	}
}

// Upgraded judges the fields of an answer of 101. Nil says that the connection is a WebSocket now.
func (p *Pass) Upgraded(header http.Header) *keybearer.Error {
	switch named := header["Upgrade"]; {
	case p.handshake == nil:
		return keybearer.NewError(keybearer.DestinationUnreachable, "the destination gave no final answer")
	case len(named) != 1 || !strings.EqualFold(named[0], "websocket") || !connectionNames(header)["upgrade"]:
		return keybearer.NewError(keybearer.DestinationUnreachable, "the destination switched to another protocol than WebSocket")
	case len(header["Sec-Websocket-Accept"]) != 1 || header.Get("Sec-Websocket-Accept") != p.handshake.accept():
		return keybearer.NewError(keybearer.DestinationUnreachable, "the destination accepted another WebSocket than the one that was asked for")
	case p.filter.scrub && len(header["Sec-Websocket-Extensions"]) > 0:
		return keybearer.NewError(keybearer.DestinationUnreachable, "the destination uses an extension of WebSocket that nobody asked for, so the secret cannot be taken out").
			WithHint("let the destination leave extensions away, or turn scrub_body off")
	}
	return nil
}

// accept is RFC 6455 section 4.2.2, item 5.4.
func (h *handshake) accept() string {
	sum := sha1.Sum([]byte(h.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
