package harness

import (
	"fmt"
	"net/netip"
	"path/filepath"
)

// Front is a real web server as a TLS destination, in front of a plain [Recorder] that sees each request as the server passes it
// on: nginx, HAProxy or Apache, as Debian has them.
type Front struct {
	*Process
	*Recorder
	Addr netip.AddrPort
}

// Fronts are the servers that [StartFront] knows.
var Fronts = []string{"nginx", "haproxy", "apache"}

// StartFront starts one of [Fronts] as a TLS destination for the host name, on port 443 of an address of its own. It passes on
// what it can, fields that it would drop by default included. answer is as in [RecorderOptions].
func StartFront(tb TB, ca *CA, server, name string, answer func(*Arrival) []byte) *Front {
	tb.Helper()
	f := &Front{Addr: netip.AddrPortFrom(Address(), 443), Recorder: StartRecorder(tb, RecorderOptions{Name: name, Answer: answer})}
	pem := ca.Files(tb, name)
	c := Command{Name: server + "-" + name}
	switch server {
	case "nginx":
		f.Process = StartNginxConfig(tb, c, f.Addr, fmt.Sprintf(`
			underscores_in_headers on;
			ignore_invalid_headers off;
			large_client_header_buffers 4 64k;
			upstream recorder { server %s; keepalive 8; }
			server {
				listen %s ssl;
				ssl_certificate %s;
				ssl_certificate_key %s;
				location / {
					proxy_pass http://recorder;
					proxy_http_version 1.1;
					proxy_set_header Host $http_host;
					proxy_set_header Connection "";
					proxy_request_buffering off;
					proxy_buffering off;
				}
			}`, f.Recorder.Addr, f.Addr, pem, pem))
	case "haproxy":
		f.Process = StartHAProxyConfig(tb, c, f.Addr, fmt.Sprintf(`
frontend tls
	bind %s ssl crt %s alpn http/1.1
	default_backend recorder
backend recorder
	server recorder %s
`, f.Addr, pem, f.Recorder.Addr))
	case "apache":
		f.Process = startApache(tb, c, f.Addr, pem, fmt.Sprintf(`
			AllowEncodedSlashes NoDecode
			ProxyAddHeaders Off
			ProxyPreserveHost On
			ProxyPass / http://%s/ nocanon
			`, f.Recorder.Addr))
	default:
		tb.Fatalf("no such front: %q", server)
	}
	return f
}

// apacheModules are what an Apache needs that speaks TLS and passes requests on.
var apacheModules = []string{"mpm_event", "authz_core", "ssl", "socache_shmcb", "proxy", "proxy_http"}

func startApache(tb TB, c Command, addr netip.AddrPort, pem, directives string) *Process {
	tb.Helper()
	c.Dir = Dir(tb)
	config := fmt.Sprintf("ServerRoot %s\nPidFile %[1]s/pid\nServerName localhost\nErrorLog /dev/stderr\nLogLevel error\nListen %s\n", c.Dir, addr)
	for _, m := range apacheModules {
		config += fmt.Sprintf("LoadModule %s_module /usr/lib/apache2/modules/mod_%[1]s.so\n", m)
	}
	config += fmt.Sprintf(`
		StartServers 1
		KeepAliveTimeout 60
		MaxKeepAliveRequests 0
		LimitRequestFieldSize 65536
		SSLEngine on
		SSLCertificateFile %s
		SSLSessionCache none
		%s`, pem, directives)
	c.Path = "apache2"
	c.Args = []string{"-D", "FOREGROUND", "-f", WriteFile(tb, filepath.Join(c.Dir, "apache.conf"), []byte(config))}
	c.Ready = Accepts(addr)
	return Start(tb, c)
}
