package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/keybearer/keybearer"
)

// changedOption is an option whose meaning has changed, or that will be gone: doctor tells who uses it.
type changedOption struct {
	// Handler is empty for an option of the app, or else the name of the handler that has it, such as "keybearer_admin".
	Handler string
	// Path is where it stands in Caddy's JSON, beneath the app or the handler, with dots: "timeouts.dial".
	Path string
	// Option is how the Caddyfile writes it.
	Option string
	// Since is the version in which it changed.
	Since string
	// Says tells what has changed, and Fix what to write instead.
	Says, Fix string
}

// changedOptions are told of until the next major version. An option stays here for as long as docs/compatibility.md promises.
var changedOptions []changedOption

// changedIn finds the options in a configuration.
func changedIn(config []byte, table []changedOption) ([]keybearer.Finding, error) {
	var parsed map[string]any
	if err := json.Unmarshal(config, &parsed); err != nil {
		return nil, err
	}
	apps, _ := parsed["apps"].(map[string]any)
	var all []keybearer.Finding
	for _, o := range table {
		used := o.Handler == "" && has(apps["keybearer"], o.Path) || o.Handler != "" && anyHandler(parsed, o.Handler, o.Path)
		if !used {
			continue
		}
		detail := fmt.Sprintf("%s: since %s %s", o.Option, o.Since, o.Says)
		all = append(all, keybearer.Finding{
			Check: "configuration", Detail: detail, Warn: true, Err: keybearer.NewError(keybearer.Invalid, detail).WithHint(o.Fix),
		})
	}
	return all, nil
}

// has reports whether something stands at the path.
func has(at any, path string) bool {
	for key := range strings.SplitSeq(path, ".") {
		object, ok := at.(map[string]any)
		if !ok {
			return false
		}
		if at, ok = object[key]; !ok {
			return false
		}
	}
	return true
}

// anyHandler looks for a handler anywhere in the configuration that has something at the path.
func anyHandler(at any, name, path string) bool {
	switch at := at.(type) {
	case map[string]any:
		if at["handler"] == name && has(at, path) {
			return true
		}
		for _, inner := range at {
			if anyHandler(inner, name, path) {
				return true
			}
		}
	case []any:
		for _, inner := range at {
			if anyHandler(inner, name, path) {
				return true
			}
		}
	}
	return false
}
