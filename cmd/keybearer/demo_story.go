package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer/internal/demo"
)

// app is a program that sends webhooks: net/http and nothing of ours.
type app struct{ name, token string }

// shot is one request of an app, and what the destination must get for it.
type shot struct {
	title  string
	remark string
	app    app
	proxy  *url.URL // nil: gateway mode
	req    *http.Request
	body   string
	field  string // header that must arrive
	value  string
}

func (s *stage) title() {
	s.p.printf("\n%s  %s\n", s.c.style.bold("Keybearer"), s.c.style.dim("apps send plain requests and name a credential; only the destination sees the secret"))
	s.p.printf("%s\n", s.c.style.dim(fmt.Sprintf("proxy %s, destination https://%s, home %s", s.proxy, s.destination.Addr, s.home)))
}

// play goes through the whole story.
func (s *stage) play(ctx context.Context) error {
	crm, legacy, metrics := "crm-"+random(), "pa:ss-"+random(), "key-"+random()
	s.secrets = []string{crm, legacy, metrics}

	s.p.heading(1, "Set up", "once, by an operator; secrets are written, never read")
	shop, stranger, err := s.setUp(ctx, crm, legacy, metrics)
	if err != nil {
		return err
	}

	s.p.heading(2, "Apps send webhooks", "what they sent, and what the destination received")
	shots := s.shots(shop, crm, legacy, metrics)
	for i, x := range shots {
		if i > 0 {
			s.p.printf("\n")
		}
		if err := s.fire(ctx, x); err != nil {
			return err
		}
	}

	s.p.heading(3, "Change a secret", "no restart, no app touched: the next request has it")
	renewed := "crm-" + random()
	s.secrets = append(s.secrets, renewed)
	if _, err := s.keybearer(ctx, renewed, "credential", "set-secret", "demo/crm"); err != nil {
		return err
	}
	again := s.shots(shop, renewed, legacy, metrics)[0]
	again.title, again.remark = "the same request again", ""
	if err := s.fire(ctx, again); err != nil {
		return err
	}

	s.p.heading(4, "What is refused", "with a stable code, before any secret is opened; nothing reaches the destination")
	if err := s.refusals(ctx, shop, stranger); err != nil {
		return err
	}

	s.p.heading(5, "The audit log", "one line a request; every use was on disk before it was sent")
	if err := s.audit(ctx, len(shots)+1); err != nil {
		return err
	}
	s.search()
	s.tryLines(shop)
	return nil
}

func random() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// setUp makes the scope, a credential of each kind, and two callers, of which one is granted the credentials.
func (s *stage) setUp(ctx context.Context, crm, legacy, metrics string) (shop, stranger app, err error) {
	rule := "https://" + s.destination.Addr
	token := map[string]string{}
	for _, step := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"scope", "create", "demo"}},
		{"", []string{"scope", "generate-key", "demo"}},
		{crm, []string{"credential", "create", "demo/crm", "--kind", "bearer", "--domain", rule + "/orders", "--methods", "POST", "--private"}},
		{"ada\n" + legacy, []string{"credential", "create", "demo/legacy", "--kind", "basic", "--domain", rule, "--private"}},
		{metrics, []string{"credential", "create", "demo/metrics", "--kind", "header", "--header", "X-Api-Key", "--domain", rule, "--private"}},
		{"", []string{"caller", "create", "shop", "--scope", "demo"}},
		{"", []string{"caller", "create", "stranger", "--scope", "demo"}},
		{"", []string{"grant", "add", "demo/crm", "app:shop", "use"}},
		{"", []string{"grant", "add", "demo/legacy", "app:shop", "use"}},
		{"", []string{"grant", "add", "demo/metrics", "app:shop", "use"}},
		{"", []string{"check", "--caller", "app:shop", "demo/crm", "POST", "http://" + s.destination.Addr + "/orders"}},
	} {
		out, err := s.keybearer(ctx, step.stdin, step.args...)
		if err != nil {
			return shop, stranger, err
		}
		switch step.args[0] {
		case "caller":
			token[step.args[2]] = strings.TrimSpace(out)
			s.p.indented(short(token[step.args[2]]))
		case "check":
			s.p.indented(out)
		}
	}
	return app{"shop", token["shop"]}, app{"stranger", token["stranger"]}, nil
}

// short leaves out most of a token, which is long.
func short(token string) string {
	if len(token) > 14 {
		return token[:10] + "…"
	}
	return token
}

// proxyURL is what the app has in HTTP_PROXY; user names a credential, or "_" none.
func (s *stage) proxyURL(user, token string) *url.URL {
	return &url.URL{Scheme: "http", Host: s.proxy, User: url.UserPassword(user, token)}
}

// post makes a request with a JSON body.
func post(target, body string, header ...string) *http.Request {
	req, err := http.NewRequest(http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		panic(err) // the targets are our own
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "shop/1.0")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// shots are one request in each mode, with a credential of each kind.
func (s *stage) shots(shop app, crm, legacy, metrics string) []shot {
	order := `{"order":1042,"total":"19.90"}`
	return []shot{
		{
			title: "proxy mode, kind bearer", remark: "one header names the credential", app: shop, body: order,
			proxy: s.proxyURL("_", shop.token),
			req:   post("http://"+s.destination.Addr+"/orders?source=shop", order, "Keybearer-Credential", "demo/crm"),
			field: "Authorization", value: "Bearer " + crm,
		},
		{
			title: "proxy mode without code, kind basic", remark: "the proxy URL names it; the app is unchanged", app: shop, body: order,
			proxy: s.proxyURL("demo/legacy", shop.token),
			req:   post("http://"+s.destination.Addr+"/legacy/in.cgi", order),
			field: "Authorization", value: "Basic " + base64.StdEncoding.EncodeToString([]byte("ada:"+legacy)),
		},
		{
			title: "gateway mode, kind header", remark: "Keybearer is the app's base URL", app: shop, body: order,
			req: post("http://"+s.proxy+"/metrics;a=1?q=%2F&b", order, "Keybearer-Credential", "demo/metrics",
				"Keybearer-Destination", "https://"+s.destination.Addr, "Authorization", "Bearer "+shop.token),
			field: "X-Api-Key", value: metrics,
		},
	}
}

// send sends a request as the app would, through the proxy if there is one.
func send(ctx context.Context, req *http.Request, proxy *url.URL) (status int, body []byte, took time.Duration, err error) {
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	if proxy != nil {
		transport.Proxy = http.ProxyURL(proxy)
	}
	client := &http.Client{
		Transport: transport, Timeout: 15 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	began := time.Now()
	res, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return 0, nil, 0, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, body, time.Since(began), err
}

// fire sends a shot, shows both sides, and checks what arrived.
func (s *stage) fire(ctx context.Context, x shot) error {
	s.p.printf("   %s  %s\n", s.c.style.bold(x.title), s.c.style.dim(x.remark))
	status, answer, took, err := send(ctx, x.req, x.proxy)
	if err != nil {
		return err
	}
	arrived := s.destination.Take()
	right := box{title: "the destination received"}
	if len(arrived) == 0 {
		right.add(style.red, "nothing")
		right.add(nil, "the app got %d: %s", status, strings.TrimSpace(string(answer)))
	}
	for _, r := range arrived {
		right.lines = append(right.lines, receivedLines(r, s.secrets)...)
	}
	s.p.sideBySide(box{"the app sent", sentLines(x)}, right)

	ok := status == http.StatusOK && len(arrived) == 1
	s.check(ok, "arrived once, answered %d in %.1f ms", status, float64(took.Microseconds())/1000)
	if len(arrived) == 1 {
		r := arrived[0]
		s.check(slices.Equal(r.Header.Values(x.field), []string{x.value}), "%s is there once, and right", x.field)
		s.check(len(foreign(r.Header)) == 0 && tokenless(r, x.app.token), "no trace of Keybearer or of the app's token%s", listed(foreign(r.Header)))
		s.check(r.Method == x.req.Method && r.Target == x.req.URL.RequestURI() && r.Host == s.destination.Addr && string(r.Body) == x.body,
			"method, path, query, host and body are the app's own, byte for byte")
	}
	return nil
}

// foreign lists headers that must not reach a destination.
func foreign(h http.Header) []string {
	var names []string
	for name := range h {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "keybearer-") || strings.HasPrefix(lower, "proxy-") || strings.HasPrefix(lower, "x-forwarded-") ||
			lower == "forwarded" || lower == "via" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func tokenless(r demo.Received, token string) bool {
	for _, values := range r.Header {
		if strings.Contains(strings.Join(values, "\n"), token) {
			return false
		}
	}
	return true
}

func listed(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ": " + strings.Join(names, ", ")
}

// sentLines show a request as the app wrote it.
func sentLines(x shot) []line {
	var b box
	if x.proxy != nil {
		b.add(style.dim, "HTTP_PROXY=http://%s:%s@%s", url.QueryEscape(x.proxy.User.Username()), short(x.app.token), x.proxy.Host)
	}
	b.add(style.bold, "%s %s", x.req.Method, x.req.URL)
	for _, name := range slices.Sorted(maps.Keys(x.req.Header)) {
		paint := style.cyan
		if !strings.HasPrefix(name, "Keybearer-") {
			paint = nil
		}
		for _, v := range x.req.Header[name] {
			b.add(paint, "%s: %s", name, strings.ReplaceAll(v, x.app.token, short(x.app.token)))
		}
	}
	b.add(nil, "")
	b.add(nil, "%s", x.body)
	return b.lines
}

// receivedLines show a request as it arrived; what holds a secret is green.
func receivedLines(r demo.Received, secrets []string) []line {
	var b box
	b.add(style.bold, "%s %s", r.Method, r.Target)
	b.add(style.dim, "%s over %s", r.Proto, r.TLS)
	b.add(nil, "Host: %s", r.Host)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if name == "Content-Length" {
			continue // the app's library wrote one too
		}
		for _, v := range r.Header[name] {
			paint := (func(style, string) string)(nil)
			if slices.ContainsFunc(secrets, func(secret string) bool { return strings.Contains(v+decoded(v), secret) }) {
				paint = style.green
			}
			b.add(paint, "%s: %s", name, v)
			if plain := decoded(v); plain != "" {
				b.add(style.dim, "  (%s)", plain)
			}
		}
	}
	b.add(nil, "")
	b.add(nil, "%s", strings.TrimSpace(string(r.Body)))
	return b.lines
}

// decoded returns what stands in a Basic value; "" for any other.
func decoded(value string) string {
	rest, ok := strings.CutPrefix(value, "Basic ")
	if !ok {
		return ""
	}
	plain, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return ""
	}
	return string(plain)
}

// tryLines are command lines for the reader; they work as long as the demo is up.
func (s *stage) tryLines(shop app) {
	s.try = []string{
		fmt.Sprintf("curl -x http://_:%s@%s -H 'Keybearer-Credential: demo/crm' -d '{\"order\":1044}' http://%s/orders", shop.token, s.proxy, s.destination.Addr),
		fmt.Sprintf("curl -x http://demo%%2Flegacy:%s@%s -d 'hello' http://%s/anything", shop.token, s.proxy, s.destination.Addr),
		fmt.Sprintf("curl -i -x http://_:%s@%s -H 'Keybearer-Credential: demo/crm' -d '' http://collect.example/", shop.token, s.proxy),
		fmt.Sprintf("KEYBEARER_HOME=%s %s credential list", s.home, s.executable),
		fmt.Sprintf("KEYBEARER_HOME=%s %s audit tail -f", s.home, s.executable),
	}
}
