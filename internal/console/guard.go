package console

import (
	"html"
	"io"
	"net/http"
	"strings"

	"github.com/keybearer/keybearer/internal/signin"
)

// contentPolicy is what a page may load and do: what the console itself serves, and nothing inline.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// maxForm bounds what a form may send, in bytes: a secret of the largest size, percent-encoded.
const maxForm = 512 << 10

// guard stands before every page. It refuses changes that another site's page asks for, sets what browsers are told, and has a visitor who follows a
// link from elsewhere come again from here, since the session's cookie is not sent along such links.
func (c *console) guard(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this page was asked for by another site; open the console and try again", http.StatusForbidden)
	}))
	inner := crossOrigin.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			if _, err := r.Cookie(signin.CookieName); err != nil && r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") == "navigate" {
				bounce(w, "")
				return
			}
			r.Body = http.NoBody // no page reads one, but FormValue would: parts without end, into files
		case http.MethodPost:
			// A browser sends one of them with every form; without both nobody knows where it comes from.
			if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
				http.Error(w, "the console is for browsers; programs use the API under /api/v1", http.StatusForbidden)
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		default:
			w.Header().Set("Allow", "GET, HEAD, POST")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		h.Set("Cache-Control", "no-store")
		switch {
		case !c.known(r.Host):
			h.Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusMisdirectedRequest)
			_, _ = io.WriteString(w, "the console is not served under this name; add public_url with the address in your browser to keybearer_admin\n")
		case !c.private(r) && !strings.HasPrefix(r.URL.Path, "/assets/"):
			c.insecure(w, r)
		default:
			inner.ServeHTTP(w, r)
		}
	})
}

// bounce answers with a page that loads a path of the console, "" for the same address again, now as a request of this site's own.
func bounce(w http.ResponseWriter, path string) {
	if path != "" {
		path = "; url=" + html.EscapeString(path)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Referrer-Policy", "strict-origin") // its address may hold a code
	_, _ = io.WriteString(w, `<!doctype html><html lang="en"><head><meta http-equiv="refresh" content="0`+path+`"><title>Keybearer</title></head><body><p>One moment.</p></body></html>`)
}
