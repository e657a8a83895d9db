package harness

import (
	"fmt"
	"net/netip"
	"path/filepath"
)

// HAProxy is Debian's HAProxy.
type HAProxy struct {
	*Process
	*Recorder // what stands behind it: sees each request as HAProxy passes it on
	Addr      netip.AddrPort
}

// StartHAProxy starts HAProxy as a TLS destination for the host name, on port 443 of an address of its own, in front of a
// plain Recorder.
func StartHAProxy(tb TB, ca *CA, name string, http2 bool) *HAProxy {
	tb.Helper()
	h := &HAProxy{Addr: netip.AddrPortFrom(Address(), 443), Recorder: StartRecorder(tb, RecorderOptions{Name: name})}
	alpn := "http/1.1"
	if http2 {
		alpn = "h2,http/1.1"
	}
	h.Process = StartHAProxyConfig(tb, Command{Name: "haproxy-" + name}, h.Addr, fmt.Sprintf(`
frontend tls
	bind %s ssl crt %s alpn %s
	default_backend recorder
backend recorder
	server recorder %s
`, h.Addr, ca.Files(tb, name), alpn, h.Recorder.Addr))
	return h
}

// StartHAProxyConfig starts HAProxy with these sections after global and defaults, and waits until addr accepts connections.
// Of c, Name, Dir and CPU count.
func StartHAProxyConfig(tb TB, c Command, addr netip.AddrPort, sections string) *Process {
	tb.Helper()
	if c.Dir == "" {
		c.Dir = Dir(tb)
	}
	config := WriteFile(tb, filepath.Join(c.Dir, "haproxy.cfg"), []byte(`
global
	nbthread 1
	maxconn 2000
	log stdout format raw local0 notice
defaults
	mode http
	log global
	timeout connect 10s
	timeout client 60s
	timeout server 60s
	timeout http-keep-alive 60s
	http-reuse always
`+sections))
	c.Path = "haproxy"
	c.Args = []string{"-db", "-f", config}
	c.Ready = Accepts(addr)
	return Start(tb, c)
}
