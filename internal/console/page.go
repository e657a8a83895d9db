package console

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/keybearer/keybearer/internal/signin"
)

//go:embed templates/*.html
var templateFiles embed.FS

// pages are the templates, by name: each holds the layout, the parts that pages share (part-*.html), and one page's "main".
var pages = parsePages()

func parsePages() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/part-*.html"))
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	all := map[string]*template.Template{}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || strings.HasPrefix(name, "part-") {
			continue
		}
		all[name] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, file))
	}
	return all
}

// view is what every template gets: "." of the layout and of "main".
type view struct {
	Title  string
	Path   string // of the request: what the menu marks
	Theme  string // "light" or "dark"; "": as the browser is
	Person *signin.Person
	Toasts []signin.Toast
	Now    time.Time
	Proxy  string // address of a listener for apps
	Data   any    // the page's own
}

// show answers with a page.
func (v *visit) show(name, title string, data any) error {
	return v.showStatus(http.StatusOK, name, title, data)
}

// showStatus answers with a page and a status other than 200.
func (v *visit) showStatus(status int, name, title string, data any) error {
	w := view{Title: title, Path: v.r.URL.Path, Theme: theme(v.r), Person: v.person, Now: v.Now(), Proxy: v.Proxy, Data: data}
	if v.person != nil {
		w.Toasts = v.SignIn.Said(v.r.Context())
	}
	return v.write(status, name, "layout", w)
}

// fragment answers with one block of a page's template, for htmx. The block gets a view like the page.
func (v *visit) fragment(name, block string, data any) error {
	return v.write(http.StatusOK, name, block, view{Path: v.r.URL.Path, Person: v.person, Now: v.Now(), Proxy: v.Proxy, Data: data})
}

func (v *visit) write(status int, name, block string, data view) error {
	var b bytes.Buffer // so that a template that fails writes nothing
	if err := pages[name].ExecuteTemplate(&b, block, data); err != nil {
		return err
	}
	v.shown = true
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Add("Vary", "HX-Request")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes())
	return nil
}
