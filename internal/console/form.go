package console

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/keybearer/keybearer"
)

// form is what was typed, and what is wrong with it. The zero value is an empty form.
type form struct {
	Values   url.Values
	Problem  *Problem          // of the whole; nil: nothing
	Errors   map[string]string // by field
	Names    map[string]string // of fields, by the names that custody has for them, where those differ
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

// asked is what the address fills into a form: nothing secret, since whoever made the address knows it.
func (v *visit) asked() url.Values {
	values := v.r.URL.Query()
	for _, name := range secretFields {
		values.Del(name)
	}
	return values
}

// secret is what was typed into one of the secretFields.
func (v *visit) secret(name string) keybearer.Secret {
	return keybearer.NewSecret(v.r.PostFormValue(name))
}

// blame notes an error beside the field that it concerns, or for the whole form. It reports whether the form can be shown again with it: what
// is the server's fault cannot be mended there.
func (f *form) blame(err error, id string) bool {
	p := problem(err, id)
	if p.Status >= 500 || p.Code == keybearer.RateLimited || p.Code == keybearer.Unauthenticated || p.Code == keybearer.NotFound {
		return false
	}
	if f.Errors == nil {
		f.Errors = map[string]string{}
	}
	f.Problem = p
	if p.Field != "" {
		if name, ok := f.Names[p.Field]; ok {
			p.Field = name
		}
		f.Errors[p.Field] = p.Detail
		if hint := keybearer.AsError(err).Hint; hint != "" {
			f.Errors[p.Field] += " " + sentence(hint)
		}
	}
	return true
}

// wrong notes an error of a field that the form finds by itself.
func (f *form) wrong(field string, err error) {
	e := keybearer.AsError(err)
	text := sentence(e.Message())
	if e.Hint != "" {
		text += " " + sentence(e.Hint)
	}
	if f.Errors == nil {
		f.Errors = map[string]string{}
	}
	f.Errors[field] = text
	if f.Problem == nil {
		f.Problem = problem(keybearer.NewError(keybearer.Invalid, "some fields need another look"), "")
	}
	f.Problem.Wrong = append(f.Problem.Wrong, Option{Value: field, Text: sentence(e.Message())})
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

// Field is one field of a form, as the parts in part-form.html show it.
type Field struct {
	ID, Name, Label         string
	Value, Error            string
	Values                  []string // all of them, where several can be chosen
	Type, Help, Placeholder string
	List                    string // id of a datalist
	Required, Mono, Focus   bool
	Options                 []Option
}

// Has reports whether the value is one of those chosen.
func (f Field) Has(value string) bool { return slices.Contains(f.Values, value) }

// Option is one of the values of a choice, or a link.
type Option struct{ Value, Text, Note string }

// field is a field with what was typed into it; secrets are never shown again.
func (f *form) field(name, label string) Field {
	return Field{ID: name, Name: name, Label: label, Value: f.Get(name), Values: f.Values[name], Error: f.Errors[name], Type: "text"}
}

// With sets more of a field, by name: id, type, help, placeholder, list; value, where none was typed; required, mono and focus take "yes".
func (f Field) With(pairs ...string) (Field, error) {
	if len(pairs)%2 != 0 {
		return f, fmt.Errorf("names and values")
	}
	for i := 0; i < len(pairs); i += 2 {
		switch value := pairs[i+1]; pairs[i] {
		case "id":
			f.ID = value
		case "list":
			f.List = value
		case "value":
			if f.Value == "" {
				f.Value = value
			}
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

// keeping adds to the options those values of the field that are none of them: what was chosen before, among more than a page offers, is not lost by
// sending the form.
func (f *form) keeping(name string, options []Option) []Option {
	for _, value := range f.Values[name] {
		if !slices.ContainsFunc(options, func(o Option) bool { return o.Value == value }) {
			options = append(options, Option{Value: value, Text: value})
		}
	}
	return options
}

// Described is the id of what describes the field, for aria-describedby; "" for nothing.
func (f Field) Described() string {
	switch {
	case f.Error != "" && f.Help != "":
		return f.ID + "-error " + f.ID + "-help"
	case f.Error != "":
		return f.ID + "-error"
	case f.Help != "":
		return f.ID + "-help"
	}
	return ""
}
