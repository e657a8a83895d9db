package soak

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Page is where the results stand, as rows of the one table in it.
const Page = "docs/soak.md"

const head = "| what | size | result | date | command |\n|---|---|---|---|---|\n"

// Row is one result.
type Row struct {
	What, Size, Result string
	Date               time.Time
	Command            string // that runs it again
}

// named finds the test or fuzz target in a command.
var named = regexp.MustCompile(`\^(\w+)\$`)

// Name is the test or fuzz target, with the package that it is in: "./policy FuzzHost". Rows of one name are replaced together.
func (r Row) Name() string {
	matches := named.FindStringSubmatch(r.Command)
	if matches == nil {
		return r.Command
	}
	where := "."
	words := strings.Fields(r.Command)
	for i, word := range words {
		switch {
		case word == "-C" && i+1 < len(words):
			where = "./" + words[i+1]
		case strings.HasPrefix(word, "./"):
			where += strings.TrimPrefix(word, ".")
		}
	}
	return strings.TrimPrefix(where, "./.") + " " + matches[1]
}

func (r Row) String() string {
	return fmt.Sprintf("| %s | %s | %s | %s | `%s` |", r.What, r.Size, r.Result, r.Date.Format(time.DateOnly), r.Command)
}

func parseRow(line string) (Row, error) {
	cells := strings.Split(strings.Trim(line, "| \n"), " | ")
	if len(cells) != 5 {
		return Row{}, fmt.Errorf("not a row of five cells: %s", line)
	}
	date, err := time.Parse(time.DateOnly, cells[3])
	return Row{cells[0], cells[1], cells[2], date, strings.Trim(cells[4], "`")}, err
}

// Read returns the rows of the page.
func Read(page string) ([]Row, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	_, rows, _, err := split(string(text))
	return rows, err
}

func split(text string) (before string, rows []Row, after string, err error) {
	before, rest, ok := strings.Cut(text, head)
	if !ok {
		return "", nil, "", fmt.Errorf("%s has no table with the head\n%s", Page, head)
	}
	for rest != "" && strings.HasPrefix(rest, "|") {
		line, more, _ := strings.Cut(rest, "\n")
		row, err := parseRow(line)
		if err != nil {
			return "", nil, "", err
		}
		rows, rest = append(rows, row), more
	}
	return before, rows, rest, nil
}

// Write puts rows into the page, in the place of those that have their names. Several processes may do so at a time.
func Write(page string, rows []Row) error {
	file, err := os.OpenFile(page, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, all, after, err := split(string(text))
	if err != nil {
		return err
	}
	for _, r := range rows {
		if strings.Contains(r.What+r.Size+r.Result+r.Command, "|") {
			return fmt.Errorf("a cell holds a '|': %s", r)
		}
		all = slices.DeleteFunc(all, func(old Row) bool { return old.Name() == r.Name() })
	}
	all = append(all, rows...)
	slices.SortFunc(all, func(a, b Row) int { return strings.Compare(a.Name()+a.What, b.Name()+b.What) })
	out := before + head
	for _, r := range all {
		out += r.String() + "\n"
	}
	out += after
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(out), 0)
	return err
}
