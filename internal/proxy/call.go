package proxy

import (
	"crypto/tls"
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// Field is one header field as it was received.
type Field struct{ Name, Value string }

// Call is a request as a wire engine received it. The engine owns it and keeps it unchanged until the Pass is finished.
type Call struct {
	Method string
	Target string  // request-target, the exact bytes: "http://h/p?q", "/p?q" or "h:80"
	Host   string  // Host field or :authority
	Fields []Field // every other field, in order
	Route  *Route  // of the listener; never nil
	Tunnel *Tunnel // the CONNECT that it came through; nil without one
	TLS    *tls.ConnectionState
	Peer   *keybearer.PeerCredentials

	Multiplexed bool // one of many requests on its connection (HTTP/2), which therefore cannot become a tunnel
	Upgradable  bool // the connection can be handed over to another protocol after it (HTTP/1.1)
	Body        bool // a body follows
}

// Tunnel is what an accepted CONNECT carries over to the requests inside it.
type Tunnel struct {
	Host       string // canonical
	Port       uint16
	Caller     string // name, for the audit log; what is inside proves itself anew by the evidence below
	Tokens     []string
	TLS        *tls.ConnectionState
	Peer       *keybearer.PeerCredentials
	Credential string // as named by the CONNECT; "" if it named none

	place place // until Close
}

// Close gives back what the tunnel took up of its caller's limits: to be called once, when its connection has ended.
func (t *Tunnel) Close() { t.place.leave() }

// Route is what the operator fixed for a listener. The zero value serves proxy and gateway mode.
type Route struct {
	Caller       string        // name of the fixed caller; "" without
	Operator     string        // who sends as that caller, for the audit log; "": the caller itself
	Credential   keybearer.Ref // with Destination: route mode
	Destination  string        // scheme://host[:port]
	Hosts        []string      // names in Host that origin-form requests may use, beside localhost and IP literals
	SharedHostOK bool          // the operator knows that every process of the host can use the fixed caller
}

// evidence is what proves the caller; of a request inside a tunnel also what the CONNECT brought.
func (c *Call) evidence(tokens []string, at time.Time) keybearer.Evidence {
	e := keybearer.Evidence{Tokens: tokens, TLS: c.TLS, Peer: c.Peer, Fixed: c.Route.Caller, At: at}
	if c.Tunnel != nil {
		e.TLS, e.Peer = c.Tunnel.TLS, c.Tunnel.Peer
	}
	return e
}

func (r *Route) fixed() bool { return r.Destination != "" }

// mode is how a request names its destination.
type mode uint8

const (
	proxyMode mode = iota
	gatewayMode
	routeMode
)

// tags are what the request says to us, as opposed to the destination.
type tags struct {
	mode        mode
	credential  string // as named, not parsed
	destination string
	actingUser  string
	tokens      []string
}

const tagPrefix = "keybearer-"

func tagError(detail string) *keybearer.Error {
	return keybearer.NewError(keybearer.TagInvalid, detail)
}

// read finds the tags. It refuses whatever could be read two ways. foreign recognizes proofs that are no tokens of ours; nil: there are none.
func (c *Call) read(foreign recognize) (t tags, err *keybearer.Error) {
	t.mode = gatewayMode
	switch {
	case c.Route.fixed():
		t.mode = routeMode
	case isAbsolute(c.Target) || c.Method == "CONNECT" || c.Tunnel != nil:
		t.mode = proxyMode
	}
	var seen [3]bool
	var others map[string]bool // further names of ours
	var userinfo string
	for _, f := range c.Fields {
		switch {
		case hasPrefixFold(f.Name, tagPrefix):
			if strings.IndexByte(f.Value, ',') >= 0 {
				return t, tagError("a Keybearer header holds a comma or was sent twice")
			}
			slot, into := -1, (*string)(nil)
			switch {
			case strings.EqualFold(f.Name, "Keybearer-Credential"):
				slot, into = 0, &t.credential
			case strings.EqualFold(f.Name, "Keybearer-Destination"):
				slot, into = 1, &t.destination
			case strings.EqualFold(f.Name, "Keybearer-Acting-User"):
				slot, into = 2, &t.actingUser
			default:
				name := strings.ToLower(f.Name)
				if others[name] {
					return t, tagError("a Keybearer header was sent twice")
				}
				if others == nil {
					others = map[string]bool{}
				}
				others[name] = true
				continue
			}
			if seen[slot] {
				return t, tagError("a Keybearer header was sent twice")
			}
			if f.Value == "" {
				return t, tagError("a Keybearer header is empty")
			}
			seen[slot], *into = true, f.Value
		case strings.EqualFold(f.Name, "Proxy-Authorization"):
			user, err := t.proof(f.Value)
			if err != nil {
				return t, err
			}
			if user != "" && userinfo != "" && user != userinfo {
				return t, tagError("two proxy credentials name different credentials")
			}
			if user != "" {
				userinfo = user
			}
		case t.mode != proxyMode && strings.EqualFold(f.Name, "Authorization"):
			if text, ok := bearer(f.Value); ok && (keybearer.LooksLikeToken(text) || foreign.holds(text)) {
				t.tokens = append(t.tokens, text)
			}
		case strings.EqualFold(f.Name, "Origin") || hasPrefixFold(f.Name, "Sec-Fetch-") && !strings.EqualFold(f.Name, "Sec-Fetch-Mode"):
			// Node's fetch sends Sec-Fetch-Mode alone; a browser never does.
			return t, keybearer.NewError(keybearer.BadRequest, "the request comes from a web page").
				WithHint("browsers may not use Keybearer; call it from a server")
		}
	}
	if err := t.carry(c.Tunnel); err != nil {
		return t, err
	}
	if userinfo != "" {
		if t.credential != "" && t.credential != userinfo {
			return t, tagError("the header and the proxy URL name different credentials")
		}
		t.credential = userinfo
	}
	return t, nil
}

// proof reads a Proxy-Authorization value. The user part of a basic one names a credential, after one percent-decode;
// "_" names none.
func (t *tags) proof(value string) (user string, err *keybearer.Error) {
	if text, ok := bearer(value); ok {
		t.tokens = append(t.tokens, text)
		return "", nil
	}
	pair, ok := basic(value)
	if !ok {
		return "", keybearer.NewError(keybearer.CallerUnauthenticated, "Proxy-Authorization is neither Bearer nor Basic")
	}
	user, password, _ := strings.Cut(pair, ":")
	if password != "" {
		t.tokens = append(t.tokens, password)
	}
	user, uerr := url.PathUnescape(user)
	if uerr != nil {
		return "", tagError("the user part of the proxy URL is not <scope>%2F<name>")
	}
	if user == "_" {
		user = ""
	}
	return user, nil
}

// carry adds what the CONNECT said.
func (t *tags) carry(tunnel *Tunnel) *keybearer.Error {
	if tunnel == nil {
		return nil
	}
	t.tokens = append(t.tokens, tunnel.Tokens...)
	if tunnel.Credential != "" {
		if t.credential != "" && t.credential != tunnel.Credential {
			return tagError("the request and its CONNECT name different credentials")
		}
		t.credential = tunnel.Credential
	}
	return nil
}

// recognize reports whether a text holds a proof of a caller that is no token of ours. The zero value recognizes none.
type recognize []keybearer.Recognizer

func (r recognize) holds(text string) bool {
	for _, i := range r {
		if i.Recognize(text) {
			return true
		}
	}
	return false
}

// target finds the one destination that the request names.
func (c *Call) target(t *tags) (policy.Target, *keybearer.Error) {
	absolute := isAbsolute(c.Target)
	switch {
	case t.mode == routeMode:
		if absolute || t.destination != "" || t.credential != "" {
			return policy.Target{}, tagError("the operator fixed credential and destination here; the request may not name them")
		}
		t.credential = c.Route.Credential.String()
		if err := c.checkHost(); err != nil {
			return policy.Target{}, err
		}
		return parsed(policy.ParseOrigin(c.Route.Destination, c.Target))
	case t.mode == proxyMode && t.destination != "":
		return policy.Target{}, tagError("the request line and Keybearer-Destination both name a destination")
	case c.Tunnel != nil:
		return c.tunnelled(absolute)
	case absolute:
		return parsed(policy.ParseAbsolute(c.Target))
	}
	if err := c.checkHost(); err != nil {
		return policy.Target{}, err
	}
	if t.destination == "" {
		return policy.Target{}, keybearer.NewError(keybearer.TagMissing, "the request names no destination").
			WithHint("use Keybearer as HTTP proxy, or set Keybearer-Destination: https://<host>")
	}
	return parsed(policy.ParseOrigin(t.destination, c.Target))
}

// tunnelled judges a request inside a tunnel: it may go to the CONNECT's authority and nowhere else.
func (c *Call) tunnelled(absolute bool) (policy.Target, *keybearer.Error) {
	text := c.Target
	if !absolute {
		text = "http://" + c.Host + c.Target
		if !strings.HasPrefix(c.Target, "/") {
			return policy.Target{}, keybearer.NewError(keybearer.BadRequest, "the request target has no path")
		}
	}
	target, err := parsed(policy.ParseAbsolute(text))
	if err != nil {
		return target, err
	}
	port := target.Port
	if port == 0 {
		port = keybearer.DefaultPort(target.Scheme)
	}
	if target.Host != c.Tunnel.Host || port != c.Tunnel.Port {
		return target, keybearer.NewError(keybearer.BadRequest, "the request names another host or port than its CONNECT")
	}
	return target, nil
}

// checkHost refuses names in Host that nobody listed, so that a web page whose name was rebound to this address
// gets nowhere. An IP literal cannot be rebound, and no browser reaches a unix socket.
func (c *Call) checkHost() *keybearer.Error {
	if c.Peer != nil || c.Host == "" { // HTTP/1.1 needs a Host: no browser leaves it out
		return nil
	}
	name := hostname(c.Host)
	if _, err := netip.ParseAddr(name); err == nil || strings.EqualFold(name, "localhost") {
		return nil
	}
	for _, h := range c.Route.Hosts {
		if strings.EqualFold(h, name) || strings.EqualFold(h, c.Host) {
			return nil
		}
	}
	return keybearer.NewError(keybearer.BadRequest, "the Host field is not a name of this listener").
		WithHint("call it by its address, or add the name with the hosts option")
}

func parsed(t policy.Target, err error) (policy.Target, *keybearer.Error) {
	if err == nil && strings.HasPrefix(t.Path, "//") && escapes(t.Path) {
		err = keybearer.NewError(keybearer.DestinationInvalid, "the path begins with two slashes and holds what must be percent-encoded")
	}
	return t, keybearer.AsError(err)
}

// escapes reports whether net/url would write the path in another way than it stands.
func escapes(path string) bool {
	plain, err := url.PathUnescape(path)
	return err != nil || (&url.URL{Path: plain, RawPath: path}).EscapedPath() != path
}

func isAbsolute(target string) bool {
	return hasPrefixFold(target, "http://") || hasPrefixFold(target, "https://")
}

// hostname strips port and brackets.
func hostname(host string) string {
	if rest, ok := strings.CutPrefix(host, "["); ok {
		name, _, _ := strings.Cut(rest, "]")
		return name
	}
	name, _, _ := strings.Cut(host, ":")
	return name
}

func bearer(value string) (string, bool) { return scheme(value, "bearer ") }

func basic(value string) (string, bool) {
	text, ok := scheme(value, "basic ")
	if !ok {
		return "", false
	}
	pair, err := base64.StdEncoding.DecodeString(text)
	return string(pair), err == nil
}

func scheme(value, name string) (string, bool) {
	if !hasPrefixFold(value, name) {
		return "", false
	}
	return strings.TrimLeft(value[len(name):], " "), true
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
