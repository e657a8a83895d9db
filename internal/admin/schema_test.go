package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// object is a JSON object that keeps its order.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, m := range o {
		b.WriteByte(",{"[min(1, 1-min(i, 1))])
		for j, v := range []any{m.name, m.value} {
			if j == 1 {
				b.WriteByte(':')
			}
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			if err := e.Encode(v); err != nil {
				return nil, err
			}
		}
	}
	if len(o) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// schemas makes JSON schemas (draft 2020-12, as OpenAPI 3.1 has them) of the types that serve.
type schemas struct {
	source source
	shown  map[reflect.Type]bool // stand in answers
	made   map[string]object
	names  []string // in the order in which they were met
}

// of is the schema of a type; that of a struct is a reference.
func (s *schemas) of(typ reflect.Type) object {
	switch typ {
	case reflect.TypeFor[time.Time]():
		return object{{"type", "string"}, {"format", "date-time"}}
	case reflect.TypeFor[admin.Expiry]():
		return object{{"type", []string{"string", "null"}}, {"format", "date-time"}}
	case reflect.TypeFor[admin.Plaintext]():
		return object{{"type", "string"}}
	case reflect.TypeFor[keybearer.Level]():
		return s.enum(typ, []string{"use", "view", "edit", "administer"})
	case reflect.TypeFor[admin.Decision]():
		return object{{"type", "string"}, {"enum", []string{keybearer.Allow, keybearer.Refuse}}}
	case reflect.TypeFor[keybearer.Subject]():
		return object{{"type", "string"}, {"pattern", "^(app|user|group):[!-~]+$"}}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return s.of(typ.Elem())
	case reflect.Slice:
		return object{{"type", "array"}, {"items", s.of(typ.Elem())}}
	case reflect.String:
		if values := s.source.values[nameOf(typ)]; values != nil {
			return s.enum(typ, values)
		}
		return object{{"type", "string"}}
	case reflect.Bool:
		return object{{"type", "boolean"}}
	case reflect.Int, reflect.Int64:
		return object{{"type", "integer"}, {"format", "int64"}}
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{{"type", "integer"}, {"format", "int64"}, {"minimum", 0}}
	case reflect.Float64:
		return object{{"type", "number"}, {"format", "double"}}
	case reflect.Struct:
		return s.reference(typ, func() object {
			var required []string
			properties := s.fields(typ, &required, s.shown[typ])
			out := object{{"type", "object"}, {"properties", properties}}
			if len(required) > 0 {
				out = append(out, member{"required", required})
			}
			if !s.shown[typ] {
				out = append(out, member{"additionalProperties", false})
			}
			return out
		})
	}
	panic(fmt.Sprintf("no schema for %v", typ))
}

func (s *schemas) enum(typ reflect.Type, values []string) object {
	return s.reference(typ, func() object { return object{{"type", "string"}, {"enum", values}} })
}

// reference makes a component of a type once, and refers to it.
func (s *schemas) reference(typ reflect.Type, make func() object) object {
	name := componentOf(typ)
	if !slices.Contains(s.names, name) {
		s.names = append(s.names, name)
		made := make()
		if text := s.source.comments[nameOf(typ)]; text != "" {
			made = append(object{{"description", text}}, made...)
		}
		s.made[name] = made
	}
	return object{{"$ref", "#/components/schemas/" + name}}
}

// componentOf is the name of a type in the description. Two packages have a Phase.
func componentOf(typ reflect.Type) string {
	name, of, generic := strings.Cut(strings.TrimSuffix(typ.Name(), "]"), "[")
	switch {
	case generic:
		return of[strings.LastIndexByte(of, '.')+1:] + name
	case strings.HasSuffix(typ.PkgPath(), "/custody"):
		return "Move" + name
	}
	return name
}

// fields are the properties of a struct, those of embedded structs among them.
func (s *schemas) fields(typ reflect.Type, required *[]string, shown bool) (out object) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && tag == "" {
			out = append(out, s.fields(f.Type, required, shown)...)
			continue
		}
		if tag == "-" {
			continue
		}
		if tag == "" {
			panic(fmt.Sprintf("%v.%s has no name", typ, f.Name))
		}
		property := s.of(f.Type)
		if text := s.source.comments[nameOf(typ)+"."+f.Name]; text != "" {
			property = append(property, member{"description", text})
		}
		if f.Type == reflect.TypeFor[admin.Plaintext]() {
			if shown {
				property = append(property, member{"readOnly", true})
			} else {
				property = append(property, member{"writeOnly", true})
			}
		}
		out = append(out, member{tag, property})
		if !strings.Contains(options, "omit") {
			*required = append(*required, tag)
		}
	}
	return out
}

// reach marks the structs that a type holds, itself included.
func reach(typ reflect.Type, into map[reflect.Type]bool) {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice:
		reach(typ.Elem(), into)
	case reflect.Struct:
		if into[typ] {
			return
		}
		into[typ] = true
		for i := range typ.NumField() {
			reach(typ.Field(i).Type, into)
		}
	}
}
