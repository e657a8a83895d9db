package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/keybearer/keybearer/internal/manifest"
)

// printChanges writes the difference in the format asked for: as people know it, "+" for what comes, "-" for what goes and "~" for what becomes
// another.
func (c *cli) printChanges(changes []manifest.Change) error {
	switch c.format {
	case asJSON, asYAML:
		if changes == nil {
			changes = []manifest.Change{}
		}
		return c.encode(changes)
	case asName:
		for _, x := range changes {
			if _, err := fmt.Fprintln(c.out, x.Kind, x.Name); err != nil {
				return err
			}
		}
		return nil
	}
	var b strings.Builder
	for _, x := range changes {
		changeLine(&b, c.style, map[manifest.Action]string{manifest.Create: "+", manifest.Edit: "~", manifest.Delete: "-"}[x.Action], "", x.Kind+" "+x.Name)
		for _, f := range x.Fields {
			old, next := changeValue(f.Field, f.Old), changeValue(f.Field, f.New)
			switch {
			case f.Old == "":
				changeLine(&b, c.style, "+", "    ", f.Field+": "+next)
			case f.New == "":
				changeLine(&b, c.style, "-", "    ", f.Field+": "+old)
			default:
				changeLine(&b, c.style, "~", "    ", f.Field+": "+old+" -> "+next)
			}
		}
	}
	_, err := io.WriteString(c.out, b.String())
	return err
}

func changeLine(b *strings.Builder, s style, sign, indent, text string) {
	paint := map[string]func(string) string{"+": s.green, "-": s.red, "~": s.yellow}[sign]
	fmt.Fprintf(b, "%s%s\n", indent, paint(sign+" "+printable(text, false)))
}

// changeValue quotes what people wrote freely.
func changeValue(field, text string) string {
	if field == "description" || field == "prefix" {
		return strconv.Quote(text)
	}
	return text
}

// tally is "2 to create, 1 to change", or "2 created, 1 changed" once that is done.
func tally(changes []manifest.Change, done bool) string {
	n := map[manifest.Action]int{}
	for _, x := range changes {
		n[x.Action]++
	}
	var parts []string
	for _, a := range []manifest.Action{manifest.Create, manifest.Edit, manifest.Delete} {
		switch {
		case n[a] == 0:
		case done:
			parts = append(parts, fmt.Sprintf("%d %sd", n[a], a))
		default:
			parts = append(parts, fmt.Sprintf("%d to %s", n[a], a))
		}
	}
	return strings.Join(parts, ", ")
}
