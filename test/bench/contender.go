package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keybearer/keybearer/test/harness"
)

const host = "bench.example.com"

// contender is a proxy that is measured.
type contender struct {
	name    string
	process *harness.Process
	addr    netip.AddrPort
	request []byte
}

// site is what all proxies are set up for.
type site struct {
	ca          *harness.CA
	destination netip.AddrPort
	cpu         string
}

// starters make the contenders, in the order of the report; the first two are what the others are compared with.
var starters = []struct {
	name  string
	start func(*run, site, string) *contender
}{
	{"nginx", startNginx},
	{"caddy", startCaddy},
	{"caddy-tuned", startTunedCaddy},
	{"haproxy", startHAProxy},
	{"keybearer", startKeybearer},
}

func contenders(b *run, o *options) []*contender {
	s := site{ca: harness.NewCA(b), destination: netip.AddrPortFrom(harness.Address(), 443), cpu: o.proxyCPU}
	self, err := os.Executable()
	if err != nil {
		b.Fatalf("%v", err)
	}
	harness.Start(b, harness.Command{
		Name: "destination", Path: self, Args: []string{"destination", s.destination.String(), s.ca.Files(b, host)},
		CPU: o.loadCPU, Ready: harness.Accepts(s.destination),
	})
	var all []*contender
	for _, st := range starters {
		if len(o.only) == 0 || slices.Contains(o.only, st.name) {
			all = append(all, st.start(b, s, st.name))
		}
	}
	if len(all) == 0 {
		b.Fatalf("no proxy is named %s", strings.Join(o.only, ", "))
	}
	return all
}

// post returns a POST of 1 KiB with further header lines.
func post(target string, lines ...string) []byte {
	body := strings.Repeat(`{"event":"invoice.paid"}`, 43)[:1024]
	lines = append(lines, "User-Agent: bench", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)))
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n%s", target, host, strings.Join(lines, "\r\n"), body)
}

func startNginx(b *run, s site, name string) *contender {
	addr := netip.AddrPortFrom(harness.Address(), 8080)
	p := harness.StartNginxConfig(b, harness.Command{Name: name, CPU: s.cpu}, addr, fmt.Sprintf(`
		upstream destination { server %s; keepalive 256; keepalive_requests 100000000; keepalive_time 24h; }
		server {
			listen %s reuseport backlog=4096;
			keepalive_requests 100000000;
			location / {
				proxy_pass https://destination;
				proxy_http_version 1.1;
				proxy_set_header Connection "";
				proxy_set_header Host $http_host;
				proxy_set_header Authorization "%s";
				proxy_ssl_verify on;
				proxy_ssl_trusted_certificate %s;
				proxy_ssl_name %s;
				proxy_ssl_server_name on;
				proxy_ssl_protocols TLSv1.3;
			}
		}`, s.destination, addr, authorization, s.ca.File, host))
	return &contender{name, p, addr, post("/hook")}
}

func startHAProxy(b *run, s site, name string) *contender {
	addr := netip.AddrPortFrom(harness.Address(), 8080)
	p := harness.StartHAProxyConfig(b, harness.Command{Name: name, CPU: s.cpu}, addr, fmt.Sprintf(`
frontend plain
	bind %s
	http-request set-header Authorization "%s"
	default_backend destination
backend destination
	server destination %s ssl verify required ca-file %s sni str(%s) verifyhost %s ssl-min-ver TLSv1.3 pool-max-conn 1000
`, addr, authorization, s.destination, s.ca.File, host, host))
	return &contender{name, p, addr, post("/hook")}
}

func startCaddy(b *run, s site, name string) *contender {
	return startCaddyWith(b, s, name, "")
}

func startTunedCaddy(b *run, s site, name string) *contender {
	return startCaddyWith(b, s, name, "keepalive_idle_conns_per_host 1024")
}

func startCaddyWith(b *run, s site, name, transport string) *contender {
	addr := netip.AddrPortFrom(harness.Address(), 8080)
	dir := harness.Dir(b)
	config := harness.WriteFile(b, filepath.Join(dir, "Caddyfile"), fmt.Appendf(nil, `{
	admin off
	persist_config off
	auto_https off
}
http://:8080 {
	bind %s
	reverse_proxy https://%s {
		header_up Authorization "%s"
		transport http {
			tls_trust_pool file %s
			tls_server_name %s
			%s
		}
	}
}
`, addr.Addr(), s.destination, authorization, s.ca.File, host, transport))
	binary, err := harness.Binary()
	if err != nil {
		b.Fatalf("%v", err)
	}
	p := harness.Start(b, harness.Command{
		Name: name, Path: binary, Args: []string{"run", "--config", config, "--adapter", "caddyfile"},
		// GOGC as stock Caddy has it: keybearer run sets another unless it is given.
		Env: []string{"GOGC=100", "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "KEYBEARER_HOME=" + dir}, Dir: dir,
		CPU: s.cpu, Ready: harness.Accepts(addr),
	})
	return &contender{name, p, addr, post("/hook")}
}
