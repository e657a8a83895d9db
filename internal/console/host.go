package console

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// hostname is the name in a Host field, without port, brackets and capitals.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func loopback(name string) bool {
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.Zone() == "" && ip.IsLoopback()
}

// known reports whether the console may be asked under the name. Another one may be that of a page elsewhere whose name was made to resolve to this
// machine (DNS rebinding): to the browser it would be of one origin with the console.
func (c *console) known(host string) bool {
	name := hostname(host)
	return loopback(name) || c.Public != nil && name == hostname(c.Public.Host) ||
		name != "" && slices.ContainsFunc(c.Hosts, func(h string) bool {
			rest, wild := strings.CutPrefix(h, "*")
			label, under := strings.CutSuffix(name, strings.ToLower(rest))
			return strings.EqualFold(h, name) || wild && under && label != "" && !strings.Contains(label, ".")
		})
}

// private reports whether a browser takes the way here for one that nobody listens on: only there does it keep our cookie.
func (c *console) private(r *http.Request) bool {
	name := hostname(r.Host)
	return r.TLS != nil || loopback(name) || c.Public != nil && c.Public.Scheme == "https" && name == hostname(c.Public.Host)
}

// insecure says that nobody can sign in by the way that the request came.
func (c *console) insecure(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Referrer-Policy", "strict-origin") // the address may hold the code of a set-up link
	v := &visit{console: c, w: w, r: r}
	public := ""
	if c.Public != nil && c.Public.Scheme == "https" {
		public = c.Public.String()
	}
	_ = v.write(http.StatusForbidden, "insecure", "layout", view{Title: "Not here", Path: r.URL.Path, Theme: theme(r), Now: c.Now(), Data: public})
}

// local returns the path to go to, if it is one of the console's own, else the start.
func local(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsFunc(next, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return "/"
	}
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || u.Scheme != "" {
		return "/"
	}
	for _, own := range []string{"/sign-", "/set-up", "/confirm"} { // they would lead back here
		if strings.HasPrefix(u.Path, own) {
			return "/"
		}
	}
	return next
}

// from is the page that a link of ours was followed on; "/" when that is not known.
func (v *visit) from() string {
	u, err := url.Parse(v.r.Referer())
	if err != nil || u.Host != v.r.Host {
		return "/"
	}
	return local(u.RequestURI())
}

// next is where to go after this, as the address or form says.
func (v *visit) next() string { return local(v.r.FormValue("next")) }
