package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen lays out what the demo shows: headings, commands, and boxes side by side.
type screen struct {
	w     io.Writer
	s     style
	width int
}

func newScreen(w io.Writer, s style) *screen {
	width := 110
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = min(max(n-1, 72), 120)
		}
	}
	return &screen{w, s, width}
}

func (p *screen) printf(format string, args ...any) { _, _ = fmt.Fprintf(p.w, format, args...) }

// heading begins a part.
func (p *screen) heading(number int, title, remark string) {
	p.printf("\n%s  %s  %s\n\n", p.s.cyan(fmt.Sprint(number)), p.s.bold(title), p.s.dim(remark))
}

// command shows a command line as the reader would type it.
func (p *screen) command(line string) { p.printf("   %s %s\n", p.s.dim("$"), line) }

// indented shows what a command printed.
func (p *screen) indented(text string) {
	for line := range strings.Lines(text) {
		p.printf("     %s\n", strings.TrimRight(line, "\n"))
	}
}

// check shows whether something held.
func (p *screen) check(ok bool, text string) {
	if ok {
		p.printf("   %s %s\n", p.s.green("✓"), text)
	} else {
		p.printf("   %s %s\n", p.s.red("✗"), p.s.red(text))
	}
}

// line is one line of a box.
type line struct {
	text  string
	paint func(style, string) string
}

// box is a titled list of lines.
type box struct {
	title string
	lines []line
}

// add appends a line, painted or (nil) plain.
func (b *box) add(paint func(style, string) string, format string, args ...any) {
	b.lines = append(b.lines, line{fmt.Sprintf(format, args...), paint})
}

// sideBySide draws two boxes of the same height. Lines that are too long go on below.
func (p *screen) sideBySide(left, right box) {
	inner := (p.width-3-1)/2 - 4 // margin and gap; borders with a blank each
	l, r := wrap(left.lines, inner), wrap(right.lines, inner)
	for len(l) < len(r) {
		l = append(l, line{})
	}
	for len(r) < len(l) {
		r = append(r, line{})
	}
	p.printf("   %s %s\n", p.border("╭", " "+left.title+" ", "╮", inner), p.border("╭", " "+right.title+" ", "╮", inner))
	for i := range l {
		p.printf("   %s %s\n", p.side(l[i], inner), p.side(r[i], inner))
	}
	p.printf("   %s %s\n", p.border("╰", "", "╯", inner), p.border("╰", "", "╯", inner))
}

// alone draws one box.
func (p *screen) alone(b box) {
	inner := p.width - 3 - 4
	p.printf("   %s\n", p.border("╭", " "+b.title+" ", "╮", inner))
	for _, x := range wrap(b.lines, inner) {
		p.printf("   %s\n", p.side(x, inner))
	}
	p.printf("   %s\n", p.border("╰", "", "╯", inner))
}

func (p *screen) border(open, title, shut string, inner int) string {
	bar := strings.Repeat("─", max(inner+2-utf8.RuneCountInString(title), 0))
	return p.s.dim(open) + p.s.bold(title) + p.s.dim(bar+shut)
}

func (p *screen) side(x line, inner int) string {
	text := x.text + strings.Repeat(" ", max(inner-utf8.RuneCountInString(x.text), 0))
	if x.paint != nil {
		text = x.paint(p.s, text)
	}
	return p.s.dim("│") + " " + text + " " + p.s.dim("│")
}

// wrap breaks lines at width, behind a mark near the end if there is one; what goes on below is indented by two.
func wrap(lines []line, width int) []line {
	var out []line
	for _, x := range lines {
		text, indent := []rune(printable(x.text, false)), ""
		for len(text) > width-len(indent) {
			room := width - len(indent)
			cut := room
			for i := room; i > room-20; i-- {
				if strings.ContainsRune("@/?&; ", text[i-1]) {
					cut = i
					break
				}
			}
			out = append(out, line{indent + string(text[:cut]), x.paint})
			text, indent = text[cut:], "  "
		}
		out = append(out, line{indent + string(text), x.paint})
	}
	return out
}
