package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// job is one request that a client is to send, and what is to come of it.
type job struct {
	ID      string            `json:"id"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Proxy   string            `json:"proxy"`   // with its userinfo; "" in gateway mode
	Connect string            `json:"connect"` // Proxy-Authorization of a client that opens CONNECT
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`

	client, mode, caller, credential, host, target string
	refused                                        bool // by us, so that it arrives nowhere
}

// result is what a client got.
type result struct {
	ID       string `json:"id"`
	Status   int    `json:"status"`
	Answered string `json:"answered"` // the IDHeader of the answer
	By       string `json:"by"`       // Proxy-Status
	Body     string `json:"body"`
}

// The clients, and the modes in which each of them sends. Node's proxy and userinfo modes open CONNECT host:80, and so does Go's client in
// a fourth mode, "tunnel".
var (
	clients = []string{"go", "curl", "python", "node"}
	modes   = []string{"proxy", "userinfo", "gateway"}
)

// address sets the parts of a job that depend on its client and mode.
func (w *world) address(j *job) {
	j.Headers = map[string]string{harness.IDHeader: j.ID}
	if j.Body != "" {
		j.Headers["Content-Type"] = "application/json"
	}
	token := "Bearer " + w.tokens[j.caller]
	j.URL = "http://" + j.host + j.target
	switch j.mode {
	case "proxy", "tunnel":
		j.Proxy = "http://" + w.Proxy.String()
		j.Headers["Keybearer-Credential"] = j.credential
		if j.client == "node" || j.mode == "tunnel" {
			j.Connect = token
		} else {
			j.Headers["Proxy-Authorization"] = token
		}
	case "userinfo":
		u := url.URL{Scheme: "http", Host: w.Proxy.String(), User: url.UserPassword(j.credential, w.tokens[j.caller])}
		j.Proxy = u.String() // which writes the "/" in the name as %2F
	case "gateway":
		j.URL = "http://" + w.Proxy.String() + j.target
		j.Headers["Keybearer-Credential"] = j.credential
		j.Headers["Keybearer-Destination"] = "https://" + j.host
		j.Headers["Authorization"] = token
	}
}

// send sends all jobs of one client with so many at a time (the scripts have four), and returns the results by id.
func send(t *testing.T, client string, jobs []*job, width int) map[string]result {
	t.Helper()
	results := make(map[string]result, len(jobs))
	switch client {
	case "python":
		script := filepath.Join(harness.Repository(), "test", "e2e", "clients", "client.py")
		runScript(t, results, jobs, "python3", script)
	case "node":
		script := filepath.Join(harness.Repository(), "test", "e2e", "node", "client.mjs")
		runScript(t, results, jobs, "node", script)
	case "curl":
		each(t, results, jobs, width, func(j *job) (result, error) { return curl(t, j) })
	case "go":
		var c goClient
		defer c.close()
		each(t, results, jobs, width, c.send)
	}
	return results
}

// each sends jobs with so many workers.
func each(t *testing.T, results map[string]result, jobs []*job, width int, send func(*job) (result, error)) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	queue := make(chan *job)
	for range width {
		wg.Go(func() {
			for j := range queue {
				r, err := send(j)
				if err != nil {
					t.Errorf("%s, %s: request %s: %v", j.client, j.mode, j.ID, err)
				}
				mu.Lock()
				results[j.ID] = r
				mu.Unlock()
			}
		})
	}
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	wg.Wait()
}

func runScript(t *testing.T, results map[string]result, jobs []*job, program, script string) {
	t.Helper()
	plan, err := json.Marshal(jobs)
	if err != nil {
		t.Error(err)
		return
	}
	r := harness.Run(t, harness.Command{Path: program, Args: []string{script}, Dir: filepath.Dir(script)}, string(plan))
	if r.Code != 0 {
		t.Errorf("%s: exit code %d: %s", program, r.Code, r.Stderr)
	}
	lines := json.NewDecoder(strings.NewReader(r.Stdout))
	for {
		var one result
		if err := lines.Decode(&one); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("%s: %v in %q", program, err, r.Stdout)
			return
		}
		results[one.ID] = one
	}
}

func curl(t *testing.T, j *job) (result, error) {
	args := []string{"-sS", "-X", j.Method, "-w", "\n%{http_code}\n%header{x-test-id}\n%header{proxy-status}", "--max-time", "60"}
	if j.Proxy != "" {
		args = append(args, "-x", j.Proxy)
	}
	for name, value := range j.Headers {
		args = append(args, "-H", name+": "+value)
	}
	if j.Body != "" {
		args = append(args, "--data-binary", "@-")
	}
	r := harness.Run(t, harness.Command{Path: "curl", Args: append(args, j.URL)}, j.Body)
	if r.Code != 0 {
		return result{}, fmt.Errorf("exit code %d: %s", r.Code, r.Stderr)
	}
	lines := strings.Split(r.Stdout, "\n")
	if len(lines) < 4 {
		return result{}, fmt.Errorf("curl wrote %q", r.Stdout)
	}
	last := lines[len(lines)-3:]
	one := result{ID: j.ID, Answered: last[1], By: last[2], Body: strings.Join(lines[:len(lines)-3], "\n")}
	_, err := fmt.Sscan(last[0], &one.Status)
	return one, err
}

// goClient is Go's own client with one transport for each proxy URL.
type goClient struct {
	mu         sync.Mutex
	transports map[string]*http.Transport
}

func (c *goClient) transport(proxy, connect string) (*http.Transport, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.transports[proxy+connect]; ok {
		return t, nil
	}
	t := &http.Transport{MaxIdleConnsPerHost: 64}
	if proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil {
			return nil, err
		}
		if connect == "" {
			t.Proxy = http.ProxyURL(u)
		} else {
			t.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) { return tunnel(u.Host, addr, connect) }
		}
	}
	if c.transports == nil {
		c.transports = map[string]*http.Transport{}
	}
	c.transports[proxy+connect] = t
	return t, nil
}

// tunnel opens a tunnel to addr with CONNECT.
func tunnel(proxy, addr, authorization string) (net.Conn, error) {
	conn, err := net.Dial("tcp", proxy)
	if err != nil {
		return nil, err
	}
	if _, err = io.WriteString(conn, request("CONNECT", addr, addr, "Proxy-Authorization: "+authorization)); err == nil {
		var resp *http.Response
		// Nothing comes behind the answer before a request is sent, so the reader swallows nothing.
		if resp, err = http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "CONNECT"}); err == nil && resp.StatusCode != 200 {
			err = errors.New(resp.Status)
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (c *goClient) close() {
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}

func (c *goClient) send(j *job) (result, error) {
	transport, err := c.transport(j.Proxy, j.Connect)
	if err != nil {
		return result{}, err
	}
	req, err := http.NewRequest(j.Method, j.URL, strings.NewReader(j.Body))
	if err != nil {
		return result{}, err
	}
	for name, value := range j.Headers {
		req.Header.Set(name, value)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return result{}, err
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		return result{}, err
	}
	return result{
		ID: j.ID, Status: resp.StatusCode, Answered: resp.Header.Get(harness.IDHeader), By: resp.Header.Get("Proxy-Status"),
		Body: body.String(),
	}, nil
}
