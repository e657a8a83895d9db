package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// scrubSize is how much is sent in each way; make soak sends 1 GiB.
func scrubSize() int {
	if os.Getenv("KEYBEARER_SOAK") == "1" {
		return gib
	}
	return 32 << 20
}

// sown yields a text of at least so many bytes in pieces: what lies between secrets, and secrets in one of these forms, in two halves each, so that
// the border of a chunk falls into every one of them. The same seed gives the same text.
func sown(seed uint64, size int, forms []string) func(yield func(piece []byte, secret bool) bool) {
	return func(yield func([]byte, bool) bool) {
		r := rand.New(rand.NewPCG(seed, 1))
		for sent := 0; sent < size; {
			between := block[:r.IntN(len(block))]
			form := forms[r.IntN(len(forms))]
			at := r.IntN(len(form) + 1)
			if !yield(between, false) || !yield([]byte(form[:at]), true) || !yield([]byte(form[at:]), true) {
				return
			}
			sent += len(between) + len(form)
		}
	}
}

// The body of an answer comes back without the secret in any of its forms, wherever a chunk ends, and otherwise as it was, in constant memory.
func TestBodiesAreScrubbedInConstantMemory(t *testing.T) {
	size := scrubSize()
	both(t, func(t *testing.T, w *world, handle func(http.HandlerFunc) string) {
		w.credential("docs/scrubbed", "basic", append(private("*.example.com"), "--scrub-body")...)
		w.grant("docs/scrubbed", "billing", "use")
		secret := w.planted[len(w.planted)-1]
		var all []string
		for name, form := range forms(secret) {
			if name != "beginning" && name != "end" && !strings.HasPrefix(name, "base64") { // those are cut short
				all = append(all, form)
			}
		}
		for at := range 3 { // the characters of base64 that are the secret's alone
			whole := base64.RawStdEncoding.EncodeToString(append(make([]byte, at), secret...))
			form := whole[(at*8+5)/6 : 8*(at+len(secret))/6]
			all = append(all, form, strings.NewReplacer("+", "-", "/", "_").Replace(form))
		}
		all = append(all, strings.TrimPrefix(w.expected["docs/scrubbed"].value, "Basic "))
		slices.Sort(all)
		length := 0
		for piece := range sown(7, size, all) {
			length += len(piece)
		}
		host := handle(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "length" {
				rw.Header().Set("Content-Length", fmt.Sprint(length))
			}
			n := 0
			for piece, secret := range sown(7, size, all) {
				if _, err := rw.Write(piece); err != nil {
					return
				}
				if n++; secret && n%8 == 0 {
					_ = http.NewResponseController(rw).Flush()
				}
			}
		})
		client := w.client(t, "billing", "docs/scrubbed")
		before, peak := w.RSS(t), w.watchMemory(t)
		for _, query := range []string{"", "?length"} {
			resp, err := client.Get("http://" + host + "/" + query)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(block))
			secrets := 0
			for piece, secret := range sown(7, size, all) {
				if _, err := io.ReadFull(resp.Body, got[:len(piece)]); err != nil {
					t.Fatal(err)
				}
				if secret {
					secrets++
					piece = bytes.Repeat([]byte("*"), len(piece))
				}
				if !bytes.Equal(got[:len(piece)], piece) {
					t.Fatalf("after %d halves of secrets came %q", secrets, got[:min(len(piece), 200)])
				}
			}
			if n, err := resp.Body.Read(got); n != 0 || err != io.EOF {
				t.Errorf("%d bytes more, %v", n, err)
			}
			_ = resp.Body.Close()
			t.Logf("%d MiB with %d secrets", length>>20, secrets/2)
		}
		grown := peak() - before
		t.Logf("resident memory %d MiB, at most %d MiB more", before>>20, grown>>20)
		if grown > 32<<20 {
			t.Errorf("resident memory grew by %d MiB", grown>>20)
		}
	})
}

// nginx, asked for plain and whole bytes, gives them, although it would compress and cut; where it compresses all the same, nothing comes back.
func TestNginxIsScrubbed(t *testing.T) {
	w := newWorld(t)
	w.scope("docs")
	w.caller("billing", "docs")
	w.credential("docs/scrubbed", "bearer", append(private("api.example.com"), "--scrub-body")...)
	w.credential("docs/plain", "bearer", private("api.example.com")...)
	for name := range w.expected {
		w.grant(name, "billing", "use")
	}
	front := netip.AddrPortFrom(harness.Address(), 443)
	dir := harness.Dir(t)
	harness.WriteFile(t, filepath.Join(dir, "file"), []byte(strings.Repeat(w.expected["docs/scrubbed"].value+"\n", 100)))
	pem := w.ca.Files(t, "api.example.com")
	harness.StartNginxConfig(t, harness.Command{Name: "nginx-echo"}, front, fmt.Sprintf(`
		server {
			listen %s ssl;
			ssl_certificate %s;
			ssl_certificate_key %[2]s;
			gzip on;
			gzip_min_length 1;
			gzip_types *;
			default_type text/plain;
			location = /echo { return 200 "you sent $http_authorization, in full"; }
			location = /file { root %[3]s; }
			location = /forced { add_header Content-Encoding gzip; return 200 "you sent $http_authorization"; }
		}`, front, pem, dir))
	w.dns.Set("api.example.com", front.Addr())
	get := func(credential, path string, header ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest("GET", "http://api.example.com"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := w.client(t, "billing", credential).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	secret := strings.TrimPrefix(w.expected["docs/scrubbed"].value, "Bearer ")
	stars := "Bearer " + strings.Repeat("*", len(secret))
	if resp, body := get("docs/scrubbed", "/echo", "Accept-Encoding", "gzip"); resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "" || body != "you sent "+stars+", in full" {
		t.Errorf("%s %v %q", resp.Status, resp.Header, body)
	}
	if resp, body := get("docs/scrubbed", "/file", "Range", "bytes=10-29", "If-Range", `"x"`); resp.StatusCode != 200 || body != strings.Repeat(stars+"\n", 100) {
		t.Errorf("%s %v %q", resp.Status, resp.Header, body)
	}
	if resp, body := get("docs/scrubbed", "/forced"); resp.StatusCode != 502 || !strings.Contains(body, `"destination_unreachable"`) || strings.Contains(body, "you sent") {
		t.Errorf("%s %v %q", resp.Status, resp.Header, body)
	}
	if resp, _ := get("docs/plain", "/echo", "Accept-Encoding", "gzip"); resp.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("without the option: %v", resp.Header)
	}
	if resp, body := get("docs/plain", "/file", "Range", "bytes=10-29"); resp.StatusCode != 206 || len(body) != 20 {
		t.Errorf("without the option: %s %q", resp.Status, body)
	}
}
