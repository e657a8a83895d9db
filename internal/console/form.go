package console

import (
	"fmt"
	"maps"
	"net/url"
	"strconv"

	"github.com/keybearer/keybearer"
)

// form is what was typed, and what is wrong with it. The zero value is an empty form.
type form struct {
	Values   url.Values
	Problem  *Problem          // of the whole; nil: nothing
	Errors   map[string]string // by field
	Revision uint64            // of the record that the form changes; 0: it makes one
}

// secretFields are those whose values no page shows again.
var secretFields = []string{"secret", "username", "token"}

// posted is the form that was sent, without what is secret in it.
func (v *visit) posted() *form {
	values := maps.Clone(v.r.PostForm)
	for _, name := range secretFields {
		delete(values, name)
	}
	f := &form{Values: values}
	f.Revision, _ = strconv.ParseUint(f.Get("revision"), 10, 63)
	return f
}

// secret is what was typed into one of the secretFields.
func (v *visit) secret(name string) keybearer.Secret {
	return keybearer.NewSecret(v.r.PostFormValue(name))
}

// blame notes an error beside the field that it concerns, or for the whole form. It reports whether the form can be shown again with it: what
// is the server's fault cannot be mended there.
func (f *form) blame(err error, id string) bool {
	p := problem(err, id)
	if p.Status >= 500 || p.Code == keybearer.Unauthenticated || p.Code == keybearer.NotFound {
		return false
	}
	if f.Errors == nil {
		f.Errors = map[string]string{}
	}
	f.Problem = p
	if p.Field != "" {
		f.Errors[p.Field] = p.Detail
		if hint := keybearer.AsError(err).Hint; hint != "" {
			f.Errors[p.Field] += " " + sentence(hint)
		}
	}
	return true
}

// Get is the first value of a field.
func (f *form) Get(name string) string { return f.Values.Get(name) }

// Is reports whether one of the field's values is the one given: for boxes and options.
func (f *form) Is(name, value string) bool {
	for _, have := range f.Values[name] {
		if have == value {
			return true
		}
	}
	return false
}

// Field is one field of a form, as the parts "input", "area", "choice" and "box" show it.
type Field struct {
	Name, Label, Value, Error string
	Type, Help, Placeholder   string
	Required, Mono, Focus     bool
	Spellcheck                bool
	Options                   []Option
}

// Option is one of the values of a choice.
type Option struct{ Value, Text, Note string }

// field is a field with what was typed into it; secrets are never shown again. The first one that is wrong gets the focus.
func (f *form) field(name, label string) Field {
	return Field{Name: name, Label: label, Value: f.Get(name), Error: f.Errors[name], Type: "text", Focus: f.Errors[name] != ""}
}

// With sets more of a field, by name: type, help, placeholder; required, mono and focus take "yes".
func (f Field) With(pairs ...string) (Field, error) {
	if len(pairs)%2 != 0 {
		return f, fmt.Errorf("names and values")
	}
	for i := 0; i < len(pairs); i += 2 {
		switch value := pairs[i+1]; pairs[i] {
		case "type":
			f.Type = value
		case "help":
			f.Help = value
		case "placeholder":
			f.Placeholder = value
		case "required":
			f.Required = value == "yes"
		case "mono":
			f.Mono = value == "yes"
		case "focus":
			f.Focus = value == "yes"
		default:
			return f, fmt.Errorf("a field has no %s", pairs[i])
		}
	}
	return f, nil
}

// From sets the options of a choice.
func (f Field) From(options []Option) Field { f.Options = options; return f }

// Described is the id of what describes the field, for aria-describedby; "" for nothing.
func (f Field) Described() string {
	switch {
	case f.Error != "" && f.Help != "":
		return f.Name + "-error " + f.Name + "-help"
	case f.Error != "":
		return f.Name + "-error"
	case f.Help != "":
		return f.Name + "-help"
	}
	return ""
}
