package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/policy"
)

// destination starts a destination without TLS that does what handle says with each connection, and returns its address as a URL.
func destination(t *testing.T, handle func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

func (l *lab) clear(url string) keybearer.Terms {
	return keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules(url)}
}

// head is a request up to its own fields.
func (l *lab) head(method, target string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: x\r\nKeybearer-Credential: docs/crm\r\nProxy-Authorization: Bearer " + l.token + "\r\n"
}

// A destination that answers before it has read the body must not make the rest of the body a request of its own.
func TestTheRestOfABodyIsNeverARequest(t *testing.T) {
	for form, start := range map[string]string{
		"length":  "Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 1000),
		"chunked": "Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + strings.Repeat("x", 1000) + "\r\n",
	} {
		t.Run(form, func(t *testing.T) {
			l := newLab(t)
			seen := make(chan string, 10)
			u := destination(t, func(c net.Conn, r *bufio.Reader) {
				if q, err := http.ReadRequest(r); err == nil {
					seen <- q.Method
					_, _ = io.WriteString(c, "HTTP/1.1 413 x\r\nContent-Length: 2\r\n\r\nno")
					_, _ = io.Copy(io.Discard, r)
				}
			})
			l.credential("crm", l.clear(u), "s3cret-token")
			addr := l.serve(Route{Caller: "billing", Credential: keybearer.Ref{Scope: "docs", Name: "crm"}, Destination: u})
			conn := must(net.Dial("tcp", addr))
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, "POST /up HTTP/1.1\r\nHost: localhost\r\n"+start)
			r := bufio.NewReader(conn)
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != 413 || !resp.Close {
				t.Fatalf("got %+v, %v: the connection must be closed", resp, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_, _ = io.WriteString(conn, "DELETE /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if b, _ := io.ReadAll(r); len(b) > 0 {
				t.Errorf("more came back: %q", b)
			}
			if m := <-seen; m != "POST" || len(seen) != 0 {
				t.Errorf("the destination saw %s and %d more", m, len(seen))
			}
			for _, e := range l.events(1) {
				if e.Method != "POST" {
					t.Errorf("judged as a request: %+v", e)
				}
			}
		})
	}
}

func TestASlowBodyDoesNotOutliveTheLeaveToSendIt(t *testing.T) {
	for name, revoke := range map[string]func(*lab, *keybearer.Credential){
		"credential": func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.Disabled = true })
		},
		"caller": func(l *lab, _ *keybearer.Credential) {
			c := l.caller.Clone()
			c.Disabled = true
			l.commit(keybearer.Write{Caller: c})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			c := l.credential("crm", l.bearer(), "s3cret-token")
			conn := must(net.Dial("tcp", l.serve(Route{})))
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, l.head("POST", l.plain()+"/")+"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
			r := bufio.NewReader(conn)
			if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100") { // the secret is open, the body is awaited
				t.Fatalf("%q, %v", line, err)
			}
			_, _ = r.ReadString('\n')
			revoke(l, c)
			_, _ = io.WriteString(conn, "1234567890")
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode < 400 || len(l.seen) != 0 {
				t.Fatalf("got %v, %v; %d requests arrived", resp, err, len(l.seen))
			}
		})
	}
}

func TestAStreamEndsWhenItsLeaveIsTakenAway(t *testing.T) {
	for name, revoke := range map[string]func(*lab, *keybearer.Credential){
		"disabled": func(l *lab, c *keybearer.Credential) {
			l.update(c, func(c *keybearer.Credential) { c.Disabled = true })
		},
		"grant gone": func(l *lab, c *keybearer.Credential) { l.update(c, func(c *keybearer.Credential) { c.Grants = nil }) },
		"regenerating": func(l *lab, _ *keybearer.Credential) {
			s := l.scope.Clone()
			s.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRegenerate}
			l.commit(keybearer.Write{Scope: s})
		},
		"caller gone": func(l *lab, _ *keybearer.Credential) {
			c := l.caller.Clone()
			c.DeletedAt = l.clock.now()
			l.commit(keybearer.Write{Caller: c})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			c := l.credential("crm", l.bearer(), "s3cret-token")
			other := l.credential("other", l.bearer(), "s3cret-token")
			gone := make(chan struct{})
			l.destination.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "data: x\n\n")
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				close(gone)
			})
			resp, err := l.client(l.serve(Route{})).Do(l.request("GET", l.plain()+"/", "docs/crm", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b := make([]byte, 9)
			if _, err := io.ReadFull(resp.Body, b); err != nil {
				t.Fatal(err)
			}
			l.update(other, func(c *keybearer.Credential) { c.Disabled = true }) // none of its business
			select {
			case <-gone:
				t.Fatal("a change of another credential ended the stream")
			default:
			}
			revoke(l, c)
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Error("the stream ended as if it were whole")
			}
			<-gone
			if e := l.events(1); e[len(e)-1].Code == "" || e[len(e)-1].Code == keybearer.CallerGone {
				t.Errorf("outcome %+v", e[len(e)-1])
			}
		})
	}
}

func TestWithoutAnyTimeToLiveTheKeyringIsAskedForEachRequest(t *testing.T) {
	k := &gatedKeyring{}
	l := newLab(t, gated(k), func(_ *lab, c *Config) { c.SecretTTL = -1 })
	l.credential("crm", l.bearer(), "s3cret-token")
	addr := l.serve(Route{})
	for i := range 3 {
		if status, body := l.get(addr, "docs/crm"); status != 200 || k.opens.Load() != int32(i+1) {
			t.Fatalf("%d %s, opened %d times", status, body, k.opens.Load())
		}
	}
}

func TestAStatusThatIsNoneIsRefused(t *testing.T) {
	for _, line := range []string{"HTTP/1.1 099 x", "HTTP/1.1 000 x"} {
		l := newLab(t)
		u := destination(t, func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			_, _ = io.WriteString(c, line+"\r\nContent-Length: 0\r\n\r\n")
		})
		l.credential("crm", l.clear(u), "s3cret-token")
		resp, body := raw(t, l.serve(Route{}), l.head("GET", u+"/")+"\r\n")
		wantCode(t, resp.StatusCode, body, 502, keybearer.DestinationUnreachable)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// net/http quotes what it cannot parse.
func TestTheLogNeverQuotesADestination(t *testing.T) {
	var logged lockedBuffer
	l := newLab(t, func(_ *lab, c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
	u := destination(t, func(c net.Conn, r *bufio.Reader) {
		if q, err := http.ReadRequest(r); err == nil {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", q.Header.Get("Authorization"))
		}
	})
	l.credential("crm", l.clear(u), `s3cret "token`)
	resp, body := raw(t, l.serve(Route{}), l.head("GET", u+"/?q=private")+"\r\n")
	wantCode(t, resp.StatusCode, body, 502, keybearer.DestinationUnreachable)
	if text := logged.String(); !strings.Contains(text, "use failed") || strings.Contains(text, "s3cret") || strings.Contains(text, "private") {
		t.Errorf("logged: %s", text)
	}
}

func TestTheSecretDoesNotComeBackAsTheNameOfAField(t *testing.T) {
	l := newLab(t)
	u := destination(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-S3cret-Token: 1\r\nTransfer-Encoding: chunked\r\nTrailer: S3CRET-TOKEN\r\n\r\n0\r\nS3cret-token: 1\r\n\r\n")
	})
	l.credential("crm", l.clear(u), "s3cret-token")
	resp, _ := raw(t, l.serve(Route{}), l.head("GET", u+"/")+"\r\n")
	var b strings.Builder
	_ = resp.Header.Write(&b)
	_ = resp.Trailer.Write(&b)
	if resp.StatusCode != 200 || strings.Contains(strings.ToLower(b.String()), "s3cret") {
		t.Errorf("%d %s", resp.StatusCode, b.String())
	}
}

func TestTheSealedTermsDecideAboutOverridesToo(t *testing.T) {
	l := newLab(t)
	c := l.credential("crm", l.bearer("POST"), "s3cret-token")
	l.update(c, func(c *keybearer.Credential) { c.Current.Terms.Rules = l.rules(l.destination.URL) }) // an edited row
	resp, body := raw(t, l.serve(Route{}), l.head("POST", l.plain()+"/")+"X-Http-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n")
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if v := (<-l.seen).Header.Get("X-Http-Method-Override"); v != "" {
		t.Errorf("%q arrived", v)
	}
}

func TestTheIntentSaysWhatIsSent(t *testing.T) {
	k := &gatedKeyring{}
	l := newLab(t, gated(k))
	c := l.credential("crm", l.bearer(), "secret-one")
	addr := l.serve(Route{})
	k.set(func() error {
		k.set(nil)
		l.update(c, func(c *keybearer.Credential) {
			c.Current.Number++
			l.seal(c, &keybearer.Bundle{Terms: c.Current.Terms, Secret: keybearer.NewSecret("secret-two")})
		})
		return nil
	})
	if status, body := l.get(addr, "docs/crm"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if got := (<-l.seen).Header.Get("Authorization"); got != "Bearer secret-two" {
		t.Errorf("arrived %q", got)
	}
	var said []string
	for _, e := range l.events(1) {
		said = append(said, fmt.Sprint(e.Phase, " ", e.SecretVersion))
	}
	if got := strings.Join(said, ", "); got != "intent 1, intent 2, outcome 2" {
		t.Errorf("the audit log says: %s", got)
	}
}

// byPeer proves the lab's caller to every connection that has peer credentials.
type byPeer struct{ caller func() *keybearer.Caller }

func (p byPeer) Identify(_ context.Context, e *keybearer.Evidence) (*keybearer.Caller, error) {
	if e.Peer == nil {
		return nil, nil
	}
	return p.caller(), nil
}

type connMark struct{}

func TestWhatTheConnectionProvesHoldsInsideItsTunnel(t *testing.T) {
	var l *lab
	l = newLab(t, func(_ *lab, c *Config) {
		c.Identities = []keybearer.Identity{byPeer{func() *keybearer.Caller { return l.caller }}}
		c.Peer = func(r *http.Request) *keybearer.PeerCredentials {
			if r.Context().Value(connMark{}) != nil {
				return &keybearer.PeerCredentials{UID: 1000}
			}
			return nil
		}
	})
	l.credential("crm", l.bearer(), "s3cret-token")
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	server := &http.Server{
		Handler:     must(l.proxy.Handler(Route{})),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, connMark{}, true) },
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	host := strings.TrimPrefix(l.destination.URL, "https://")
	c := openTunnel(t, listener.Addr().String(), "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	resp, body := c.roundTrip("GET / HTTP/1.1\r\nHost: " + host + "\r\nKeybearer-Credential: docs/crm\r\n\r\n")
	if resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestADestinationThatDoesNotReadHoldsNoDrainUp(t *testing.T) {
	l := newLab(t)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	arrived := make(chan struct{})
	u := destination(t, func(_ net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		close(arrived)
		<-hold
	})
	l.credential("crm", l.clear(u), "s3cret-token")
	host := strings.TrimPrefix(u, "http://")
	c := openTunnel(t, l.serve(Route{}), "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	go func() {
		_, _ = io.WriteString(c.conn, "POST / HTTP/1.1\r\nHost: "+host+"\r\nKeybearer-Credential: docs/crm\r\nContent-Length: 1000000000\r\n\r\n")
		_, _ = io.Copy(c.conn, bytes.NewReader(make([]byte, 64<<20)))
	}()
	<-arrived
	l.tunnels().drain(10 * time.Millisecond) // returns
}

func TestAuditLinesOfOddEndings(t *testing.T) {
	l := newLab(t)
	l.credential("crm", l.bearer(), "s3cret-token")
	l.credential("nobody", keybearer.Terms{Kind: keybearer.Bearer, Rules: l.rules("https://127.0.0.1:1")}, "s3cret-token")
	addr := l.serve(Route{})
	last := func(n int) keybearer.Event {
		t.Helper()
		e := l.events(n)
		return e[len(e)-1]
	}
	raw(t, addr, strings.Replace(l.head("POST", "http://127.0.0.1:1/"), "crm", "nobody", 1)+"Content-Length: 4\r\n\r\nbody")
	if e := last(1); e.BytesOut != 0 || e.Code != keybearer.DestinationUnreachable {
		t.Errorf("nobody was there, and yet: %+v", e)
	}
	resp, body := raw(t, addr, l.head("POST", l.plain()+"/")+"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
	wantCode(t, resp.StatusCode, body, 400, keybearer.BadRequest)
	if e := last(2); e.Code != keybearer.BadRequest {
		t.Errorf("a malformed body: %+v", e)
	}
	c := openTunnel(t, addr, "CONNECT api.example.com:80 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer "+l.token+"\r\n\r\n")
	c.roundTrip("\x16\x03\x01")
	if e := last(3); e.Caller != "billing" || e.Code != keybearer.TLSTunnelUnsupported || e.Host != "api.example.com" {
		t.Errorf("a TLS hello in a tunnel: %+v", e)
	}
}

func TestOnlyTheJudgedAddressIsDialled(t *testing.T) {
	l := newLab(t)
	host := strings.TrimPrefix(l.destination.URL, "https://")
	addr := netip.MustParseAddrPort(host)
	target := &dialTarget{
		destination: policy.Destination{Scheme: "https", Host: addr.Addr().String(), Addr: addr.Addr(), Port: addr.Port()},
		addresses:   dial.Addresses{List: []netip.Addr{addr.Addr()}, Reach: policy.Listed},
	}
	ctx := context.WithValue(t.Context(), dialKey{}, target)
	conn, err := l.proxy.transports.dial(ctx, "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := l.proxy.transports.dial(ctx, "tcp", "127.0.0.1:1"); keybearer.CodeOf(err) != keybearer.DestinationUnreachable {
		t.Errorf("another address: %v", err)
	}
	if _, err := l.proxy.transports.dial(t.Context(), "tcp", host); keybearer.CodeOf(err) != keybearer.DestinationUnreachable {
		t.Errorf("nothing judged: %v", err)
	}
}
