package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// format is how data is written.
type format string

const (
	asTable format = "table"
	asJSON  format = "json"
	asYAML  format = "yaml"
	asName  format = "name"
)

// Set, String and Type make format a flag's value.
func (f *format) Set(s string) error {
	switch format(s) {
	case asTable, asJSON, asYAML, asName:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("use table, json, yaml or name")
}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }

// listing is how the records of a noun are shown in a list.
type listing[T any] struct {
	heads []string
	cells func(T) []cell
	name  func(T) string
	empty string // said when there are none
}

// printList writes the records in the format asked for; the json is one array.
func printList[T any](c *cli, items []T, l listing[T]) error {
	switch c.format {
	case asJSON, asYAML:
		if items == nil {
			items = []T{}
		}
		return c.encode(items)
	case asName:
		for _, item := range items {
			if _, err := fmt.Fprintln(c.out, l.name(item)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(items) == 0 {
		c.note("%s", l.empty)
		return nil
	}
	rows := make([][]cell, len(items))
	for i, item := range items {
		rows[i] = l.cells(item)
	}
	return writeTable(c.out, c.style, l.heads, rows)
}

// printItem writes one record in the format asked for.
func printItem[T any](c *cli, item T, name string, fields []field) error {
	switch c.format {
	case asJSON, asYAML:
		return c.encode(item)
	case asName:
		_, err := fmt.Fprintln(c.out, name)
		return err
	}
	return writeFields(c.out, c.style, fields)
}

// printChanged writes a record after a change, but only if a format was asked for: the change itself is told on the error stream.
func printChanged[T any](c *cli, item T, name string, fields func(T) []field) error {
	if !c.formatAsked {
		return nil
	}
	return printItem(c, item, name, fields(item))
}

// encode writes v as indented json, or as the same in yaml.
func (c *cli) encode(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	text := b.Bytes()
	if c.format == asYAML {
		var err error
		if text, err = yamlFromJSON(text); err != nil {
			return err
		}
	}
	_, err := c.out.Write(text)
	return err
}

// yamlFromJSON turns json, which is a subset of yaml, into block style; names and their order stay.
func yamlFromJSON(text []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(escapeForYAML(text), &doc); err != nil {
		return nil, err
	}
	plainStyle(&doc)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// escapeForYAML escapes the runes that stand for themselves in json but may not in yaml (YAML 1.2.2 section 5.1); they can only be
// inside strings.
func escapeForYAML(text []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(text) {
		if r >= 0x7f && r <= 0x9f || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.Bytes()
}

// plainStyle takes the marks of json off, except where they are needed: around nothing, and around text with lines or tabs.
func plainStyle(n *yaml.Node) {
	needed := n.Kind != yaml.ScalarNode && len(n.Content) == 0 || strings.ContainsAny(n.Value, "\n\r\t")
	if !needed {
		n.Style = 0
	}
	for _, child := range n.Content {
		plainStyle(child)
	}
}

// jsonLine writes v as one line of json.
func jsonLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
