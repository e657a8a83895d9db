// Package soak is how tests run long, and where they tell what came of it.
//
// A long test has Soak in its name. It asks [Size] how much to do: a small share with all other tests, the whole with
// KEYBEARER_SOAK=1, as `make soak` sets it. What it saw it hands to [Record], which keeps one row of docs/soak.md for it. A test of this
// package demands a row for every such test and every fuzz target. A long test that has Race in its name runs under the race detector.
package soak

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// share is KEYBEARER_SOAK: which part of the whole runs, 1 for all of it; 0 for the small share of each commit.
func share() (float64, error) {
	text := os.Getenv("KEYBEARER_SOAK")
	if text == "" {
		return 0, nil
	}
	part, err := strconv.ParseFloat(text, 64)
	if err != nil || !(part > 0 && part <= 1) {
		return 0, errors.New("KEYBEARER_SOAK is not a number above 0 and up to 1")
	}
	return part, nil
}

// Long reports whether the test runs for long.
func Long(t testing.TB) bool {
	t.Helper()
	part, err := share()
	if err != nil {
		t.Fatal(err)
	}
	return part > 0
}

// Size returns how much to do: small, or large in a long run. KEYBEARER_SOAK=0.01 asks for a hundredth of large, but for no less than small. It is noted
// as the attribute "cases" of the test.
func Size(t testing.TB, small, large int) int {
	t.Helper()
	part, err := share()
	if err != nil {
		t.Fatal(err)
	}
	size := max(small, int(part*float64(large)))
	t.Attr("cases", strconv.Itoa(size))
	return size
}

// recorded are the rows of the tests of this process, by test.
var recorded struct {
	sync.Mutex
	rows map[string][]Row
}

// Record notes what a test did, how much of it, and what it saw; none of them holds a "|". In a long run the rows of a test take the
// place of those that the page has of it, once it has passed; in a short one a page that does not tell of it fails the test. A test may record
// several things, and so may its subtests.
func Record(t testing.TB, what, size, result string) {
	t.Helper()
	t.Logf("%s: %s: %s", what, size, result)
	root, test, err := whence(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(root, Page)
	row := Row{What: what, Size: size, Result: result, Date: time.Now().UTC(), Command: "KEYBEARER_SOAK=1 " + test.line()}
	if Long(t) {
		t.Cleanup(func() {
			if t.Failed() {
				return
			}
			if err := Write(page, add(row)); err != nil {
				t.Error(err)
			}
		})
		return
	}
	rows, err := Read(page)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(rows, func(r Row) bool { return r.Name() == row.Name() && r.What == what }) {
		t.Errorf("%s does not tell %q of this test: run %s", Page, what, row.Command)
	}
}

// add adds a row to those of its test, and returns them all.
func add(row Row) []Row {
	recorded.Lock()
	defer recorded.Unlock()
	if recorded.rows == nil {
		recorded.rows = map[string][]Row{}
	}
	rows := slices.DeleteFunc(recorded.rows[row.Name()], func(r Row) bool { return r.What == row.What })
	recorded.rows[row.Name()] = append(rows, row)
	return slices.Clone(recorded.rows[row.Name()])
}

// whence finds the root of the repository, and the test of that name in it.
func whence(name string) (root string, test Test, err error) {
	dir, err := os.Getwd() // of a test: its package
	if err != nil {
		return "", Test{}, err
	}
	for root = dir; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, Page)); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return "", Test{}, fmt.Errorf("%s is not in a repository with %s", dir, Page)
		}
	}
	test, err = newTest(root, dir)
	test.Name, _, _ = strings.Cut(name, "/")
	return root, test, err
}
