package console

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// functions are those that templates may call, beside methods of what they get.
var functions = template.FuncMap{
	"asset":    assetPath,
	"sentence": sentence,
	"when":     when,
	"ago":      ago,
	"under":    func(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") },
	"join":     strings.Join,
	"state":    func(s keybearer.State) badge { return stateBadge(s) },
	"field":    func(f *form, name, label string) Field { return f.field(name, label) },
	"dict":     dict,
	"number":   number,
	"list":     func(all ...string) []string { return all },
	"first":    func(n int, all []custody.Credential) []custody.Credential { return all[:min(n, len(all))] },
	"health":   health,
	"wrap":     func(data any) view { return view{Data: data} },

	"sparkline":      sparkline,
	"spans":          func() any { return spans },
	"crumbs":         crumbs,
	"uses":           uses,
	"shell":          shellWord,
	"credentialPath": credentialPath,
	"more":           func(shown, all int) int { return all - shown },
	"limits":         keybearer.Limits.Words,
}

// crumbs are the addresses and texts of a path, for the part of that name.
func crumbs(pairs ...string) ([]Option, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("crumbs takes addresses and texts")
	}
	var all []Option
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, Option{Value: pairs[i], Text: pairs[i+1]})
	}
	return all, nil
}

// dict makes a map of names and values, for parts that take several.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict takes names and values")
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("a name is a string")
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// when is a time as the attribute datetime takes it and as a person reads it, in UTC.
func when(t time.Time) template.HTML {
	if t.IsZero() {
		return "never"
	}
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s</time>`, t.Format(time.RFC3339), t.Format("2 Jan 2006, 15:04 UTC")))
}

// ago is a time relative to now, with the exact one on hover.
func ago(now, t time.Time) template.HTML {
	if t.IsZero() {
		return "never"
	}
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`,
		t.Format(time.RFC3339), t.Format("2 January 2006, 15:04:05 UTC"), relative(now.Sub(t))))
}

func relative(d time.Duration) string {
	form := "%s ago"
	if d < 0 {
		d, form = -d, "in %s"
	}
	var n int
	var unit string
	switch {
	case d < time.Minute:
		if form == "in %s" {
			return "in a moment"
		}
		return "just now"
	case d < time.Hour:
		n, unit = int(d/time.Minute), "minute"
	case d < 48*time.Hour:
		n, unit = int(d/time.Hour), "hour"
	case d < 60*24*time.Hour:
		n, unit = int(d/(24*time.Hour)), "day"
	case d < 730*24*time.Hour:
		n, unit = int(d/(30*24*time.Hour)), "month"
	default:
		n, unit = int(d/(365*24*time.Hour)), "year"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf(form, fmt.Sprintf("%d %s", n, unit))
}

// badge is a word with a tone: good, warn, bad or quiet.
type badge struct{ Tone, Text string }

func stateBadge(s keybearer.State) badge {
	switch s {
	case keybearer.Active:
		return badge{"good", "active"}
	case keybearer.Disabled:
		return badge{"warn", "disabled"}
	case keybearer.Deleted:
		return badge{"quiet", "deleted"}
	default:
		return badge{"bad", strings.ReplaceAll(string(s), "_", " ")}
	}
}

func health(p custody.Part) badge {
	switch {
	case p.Err == nil:
		return badge{"good", "works"}
	case p.Warn:
		return badge{"warn", "risk"}
	default:
		return badge{"bad", "broken"}
	}
}
