package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// cell is one value of a table, and how it is painted on a terminal.
type cell struct {
	text  string
	paint func(style, string) string
}

func plain(text string) cell         { return cell{text: text} }
func plainf(f string, a ...any) cell { return cell{text: fmt.Sprintf(f, a...)} }
func bold(text string) cell          { return cell{text, style.bold} }
func dim(text string) cell           { return cell{text, style.dim} }
func good(text string) cell          { return cell{text, style.green} }
func bad(text string) cell           { return cell{text, style.red} }
func odd(text string) cell           { return cell{text, style.yellow} }

func (c cell) width() int { return utf8.RuneCountInString(c.text) }

func (c cell) render(s style) string {
	if c.paint == nil {
		return c.text
	}
	return c.paint(s, c.text)
}

// writeTable aligns rows in columns, two blanks apart; an empty cell shows as "-". Without rows it writes nothing.
func writeTable(w io.Writer, s style, heads []string, rows [][]cell) error {
	if len(rows) == 0 {
		return nil
	}
	widths := make([]int, len(heads))
	for i, h := range heads {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, row := range rows {
		for i := range row {
			if row[i].text == "" {
				row[i] = dim("-")
			}
			row[i].text = printable(row[i].text, false)
			widths[i] = max(widths[i], row[i].width())
		}
	}
	var b strings.Builder
	line := func(row []cell) {
		for i, c := range row {
			b.WriteString(c.render(s))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-c.width()+2))
			}
		}
		b.WriteByte('\n')
	}
	head := make([]cell, len(heads))
	for i, h := range heads {
		head[i] = dim(h)
	}
	line(head)
	for _, row := range rows {
		line(row)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// field is one line of the table of a single record. Further cells go on lines of their own below the first.
type field struct {
	name  string
	cells []cell
}

func row(name string, cells ...cell) field { return field{name, cells} }

// writeFields writes names and values below each other. Fields without a value are left out.
func writeFields(w io.Writer, s style, fields []field) error {
	width := 0
	for _, f := range fields {
		width = max(width, utf8.RuneCountInString(f.name))
	}
	var b strings.Builder
	for _, f := range fields {
		name := f.name
		for _, c := range f.cells {
			if c.text == "" {
				continue
			}
			c.text = printable(c.text, false)
			b.WriteString(s.dim(name))
			b.WriteString(strings.Repeat(" ", width-utf8.RuneCountInString(name)+2))
			b.WriteString(c.render(s))
			b.WriteByte('\n')
			name = ""
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ago returns a time as people say it: "just now", "5m ago", "in 3d"; "" for no time at all.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := now.Sub(t)
	switch {
	case d < -5*time.Second:
		return "in " + span(-d)
	case d < 5*time.Second:
		return "just now"
	}
	return span(d) + " ago"
}

func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d < 365*day:
		return fmt.Sprintf("%dd", d/day)
	}
	return fmt.Sprintf("%dy", d/(365*day))
}

// count returns "1 credential", "2 credentials".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
