// Package console is the browser's way to the operations: pages for security teams and owners of credentials.
//
// Pages are HTML made on the server. Every one works without JavaScript: links and forms do all, and htmx (vendored, pinned) only saves
// reloads. Nothing is loaded from elsewhere, and the content security policy allows nothing inline. It decides nothing about
// permissions: custody does, and a page leaves out what the person could not do anyway. It never has a secret to show.
//
// A page is one file here and one template of the same name under templates/. A handler gets a [visit], calls custody, and shows a page, a fragment
// of one, or redirects; an error that it returns becomes a page, or, where a form was sent, the form again with what was typed (less secrets).
package console

import (
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/signin"
)

// Config of the console. Custody and SignIn are required.
type Config struct {
	Custody *custody.Custody
	SignIn  *signin.SignIn
	Audit   audit.Reader // nil: the audit page says that the log cannot be read back here
	Public  *url.URL     // where browsers reach the console; nil: where it listens
	Hosts   []string     // names under which it may be asked, beside loopback and Public
	Proxy   string       // address of a listener for apps, "127.0.0.1:9080", for the lines to copy; "": not known
	Logger  *slog.Logger // optional: gets each failure of ours once, with its request id
	Now     func() time.Time

	// Probe sends a request through the proxy, as Test of custody permits; nil: this server forwards nothing.
	Probe custody.Prober
}

type console struct {
	Config
	mux           *http.ServeMux
	live, exports share
}

// New returns the handler of everything that is not under /api/v1. It is safe for concurrent use.
func New(cfg Config) http.Handler {
	c := &console{Config: cfg, mux: http.NewServeMux()}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.mux.HandleFunc("GET /assets/{file}", serveAsset)
	c.signInRoutes()
	c.accountRoutes()
	c.page("GET /{$}", (*visit).home)
	c.page("GET /overview", (*visit).overview)
	c.credentialRoutes()
	c.credentialPageRoutes()
	c.scopeRoutes()
	c.callerRoutes()
	c.operatorRoutes()
	c.auditRoutes()
	c.page("GET /help/keys", (*visit).keys)
	c.page("/", (*visit).nowhere)
	return c.guard(cfg.SignIn.Handler(c.mux))
}

// page serves a pattern to whoever is signed in.
func (c *console) page(pattern string, fn func(*visit) error) {
	c.open(pattern, func(v *visit) error {
		if err := v.identify(); err != nil {
			return err
		}
		return fn(v)
	})
}

// open serves a pattern to everybody.
func (c *console) open(pattern string, fn func(*visit) error) {
	c.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v := &visit{console: c, w: w, r: r, id: keybearer.NewID(keybearer.IDRequest)}
		w.Header().Set("Keybearer-Request-Id", v.id)
		v.run(fn)
	})
}

func (v *visit) home() error { return v.redirect("/overview") }

// keys tells of the keys, for browsers that do not open them over the page.
func (v *visit) keys() error { return v.show("keys", "Keys", nil) }

func (v *visit) nowhere() error {
	return keybearer.NewError(keybearer.NotFound, "there is no such page")
}
