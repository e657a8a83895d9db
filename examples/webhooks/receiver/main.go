// A receiver of webhooks that verifies what it gets, on TLS of its own:
//
//	POST /hook    the credential that Keybearer writes
//	POST /slack   besides, the app's signature over time and body, made as Slack makes it (v0)
//	POST /github  besides, the app's signature over the body, made as GitHub makes it; each delivery counts once
package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	window  = 5 * time.Minute // how old a signed request may be, and how long it is remembered
	maxBody = 64 << 10
)

type receiver struct {
	credentials [][sha256.Size]byte // more than one while the secret is being replaced
	signingKey  []byte

	mu   sync.Mutex
	seen map[string]time.Time // what was accepted, until when it must be known
}

func main() {
	log.SetFlags(0)
	r := &receiver{signingKey: []byte(read("SIGNING_KEY_FILE")), seen: map[string]time.Time{}}
	for _, line := range strings.Fields(read("CREDENTIALS_FILE")) {
		r.credentials = append(r.credentials, sha256.Sum256([]byte(line)))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hook", r.receive(func(http.Header, []byte) error { return nil }))
	mux.HandleFunc("POST /slack", r.receive(r.slack))
	mux.HandleFunc("POST /github", r.receive(r.github))
	server := &http.Server{Addr: os.Getenv("LISTEN"), Handler: mux, ReadTimeout: 30 * time.Second}
	log.Fatal(server.ListenAndServeTLS(os.Getenv("TLS_CERT"), os.Getenv("TLS_KEY")))
}

func read(variable string) string {
	text, err := os.ReadFile(os.Getenv(variable))
	if err != nil || len(text) == 0 {
		log.Fatalf("%s names no file with something in it", variable)
	}
	return strings.TrimSpace(string(text))
}

var (
	errSignature = errors.New("the signature is missing or wrong")
	errReplay    = errors.New("this was received before")
)

// receive verifies the credential before it reads a body, then the body, then what else the path asks for.
func (r *receiver) receive(verify func(http.Header, []byte) error) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if !r.authorized(req.Header.Values("Authorization")) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the credential is missing or wrong", http.StatusUnauthorized)
			return
		}
		if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			http.Error(w, "the body must be application/json", http.StatusUnsupportedMediaType)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
		if err != nil {
			http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
			return
		}
		switch err := verify(req.Header, body); {
		case errors.Is(err, errReplay):
			http.Error(w, err.Error(), http.StatusConflict)
			return
		case err != nil:
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		case !json.Valid(body):
			http.Error(w, "the body is not JSON", http.StatusBadRequest)
			return
		}
		id := rand.Text()
		fmt.Println("received", id, req.URL.Path) // here the work would be put into a queue
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id": %q}`, id)
	}
}

// authorized wants one Authorization field, so that nobody has to choose between two. Digests have one length, and every
// credential is compared: the time tells nothing.
func (r *receiver) authorized(fields []string) bool {
	if len(fields) != 1 {
		return false
	}
	token, ok := strings.CutPrefix(fields[0], "Bearer ")
	given, equal := sha256.Sum256([]byte(token)), 0
	for _, c := range r.credentials {
		equal |= subtle.ConstantTimeCompare(given[:], c[:])
	}
	return ok && equal == 1
}

func (r *receiver) slack(header http.Header, body []byte) error {
	stamp := header.Get("X-Slack-Request-Timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > window {
		return errSignature
	}
	signature := header.Get("X-Slack-Signature")
	if !r.signed(signature, "v0=", "v0:"+stamp+":", body) {
		return errSignature
	}
	return r.once(signature)
}

func (r *receiver) github(header http.Header, body []byte) error {
	if !r.signed(header.Get("X-Hub-Signature-256"), "sha256=", "", body) {
		return errSignature
	}
	return r.once(header.Get("X-GitHub-Delivery"))
}

// signed takes the bytes as they came, before anything parses them.
func (r *receiver) signed(signature, prefix, before string, body []byte) bool {
	mac := hmac.New(sha256.New, r.signingKey)
	io.WriteString(mac, before)
	mac.Write(body)
	return hmac.Equal([]byte(signature), []byte(prefix+hex.EncodeToString(mac.Sum(nil))))
}

// once refuses what was seen within the window. Several receivers would share this memory.
func (r *receiver) once(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for old, until := range r.seen {
		if now.After(until) {
			delete(r.seen, old)
		}
	}
	if _, again := r.seen[id]; again || id == "" {
		return errReplay
	}
	r.seen[id] = now.Add(2 * window) // a stamp may lie in the future by as much as in the past
	return nil
}
