package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Nginx is Debian's nginx.
type Nginx struct {
	*Process
	Addr netip.AddrPort

	name, arrivals string
}

// nginxLogged are the request header fields that the nginx destination keeps of each request: nginx logs only
// what it is told to, so here stands all that must arrive and all that must not.
var nginxLogged = []string{
	IDHeader, "Authorization", "X-Api-Key", "Connection", "Content-Length", "Cookie", "Forwarded",
	"Keybearer-Acting-User", "Keybearer-Credential", "Keybearer-Destination", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Transfer-Encoding", "Upgrade", "User-Agent", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
}

// StartNginx starts nginx as a TLS destination for the host name, on port 443 of an address of its own. It answers all
// requests with 200, the IDHeader, and "ok" as the body.
func StartNginx(tb TB, ca *CA, name string, http2 bool) *Nginx {
	tb.Helper()
	n := &Nginx{name: name, Addr: netip.AddrPortFrom(Address(), 443)}
	dir := Dir(tb)
	n.arrivals = filepath.Join(dir, "arrivals.jsonl")

	var fields strings.Builder
	for _, h := range nginxLogged {
		fmt.Fprintf(&fields, `"%s":"$http_%s",`, h, strings.ToLower(strings.ReplaceAll(h, "-", "_")))
	}
	protocol := ""
	if http2 {
		protocol = " http2"
	}
	pem := ca.Files(tb, name)
	n.Process = startNginx(tb, Command{Name: "nginx-" + name, Dir: dir}, n.Addr, pem, fmt.Sprintf(`
		log_format arrivals escape=json '{"proto":"$server_protocol","sni":"$ssl_server_name","method":"$request_method","target":"$request_uri","host":"$http_host","header":{%s"":""}}';
		server {
			listen %s ssl%s;
			server_name %s;
			ssl_certificate %s;
			ssl_certificate_key %s;
			access_log %s arrivals;
			keepalive_requests 1000000;
			add_header %s $http_%s;
			location / { return 200 "ok"; }
		}`, fields.String(), n.Addr, protocol, name, pem, pem, n.arrivals, IDHeader, strings.ToLower(strings.ReplaceAll(IDHeader, "-", "_"))))
	return n
}

// StartNginxConfig starts nginx with these directives inside its http block, and waits until addr accepts connections. Of
// c, Name, Dir and CPU count.
func StartNginxConfig(tb TB, c Command, addr netip.AddrPort, directives string) *Process {
	tb.Helper()
	return startNginx(tb, c, addr, "", directives)
}

func startNginx(tb TB, c Command, addr netip.AddrPort, pem, directives string) *Process {
	tb.Helper()
	if c.Dir == "" {
		c.Dir = Dir(tb)
	}
	config := WriteFile(tb, filepath.Join(c.Dir, "nginx.conf"), fmt.Appendf(nil, `
		daemon off;
		master_process off;
		pid %[1]s/nginx.pid;
		error_log stderr warn;
		events { worker_connections 4096; }
		http {
			access_log off;
			client_body_temp_path %[1]s/body;
			proxy_temp_path %[1]s/proxy;
			fastcgi_temp_path %[1]s/fastcgi;
			uwsgi_temp_path %[1]s/uwsgi;
			scgi_temp_path %[1]s/scgi;
			client_max_body_size 0;
			%[2]s
		}`, c.Dir, directives))
	c.Path = "nginx"
	c.Args = []string{"-p", c.Dir, "-e", "stderr", "-c", config}
	c.Ready = Accepts(addr)
	return Start(tb, c)
}

// Accepts returns a condition that holds once the address accepts connections.
func Accepts(addr netip.AddrPort) func(context.Context) error {
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr.String())
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// All returns the requests that nginx has finished and logged so far. nginx logs after it has answered.
func (n *Nginx) All(tb TB) []*Arrival {
	tb.Helper()
	b, err := os.ReadFile(n.arrivals)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	var all []*Arrival
	for line := range bytes.Lines(b) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // still being written
		}
		var logged struct {
			Proto, SNI, Method, Target, Host string
			Header                           map[string]string
		}
		if err := json.Unmarshal(line, &logged); err != nil {
			tb.Fatalf("log line of nginx %q: %v", line, err)
		}
		a := &Arrival{
			Destination: n.name, Proto: logged.Proto, SNI: logged.SNI,
			Method: logged.Method, Target: logged.Target, Host: logged.Host,
		}
		for _, h := range nginxLogged {
			if v := logged.Header[h]; v != "" {
				a.Header = append(a.Header, Field{h, v})
			}
		}
		all = append(all, a)
	}
	return all
}
