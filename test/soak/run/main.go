// Command run does what `make soak` does: "run tests" runs every long test of the repository, and "run fuzz" every fuzz target for an equal
// share of a time. What was seen they write into docs/soak.md. It stops at the first that fails; a fuzz target leaves its input
// under testdata/fuzz.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/keybearer/keybearer/test/soak"
)

func main() {
	length := flag.Duration("time", 75*time.Minute, "fuzz: for all targets together")
	only := flag.String("only", "", "regular expression of what to run, as in './policy FuzzHost'")
	flag.Parse()
	if err := run(flag.Arg(0), *only, *length); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(what, only string, length time.Duration) error {
	matches, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	var found []soak.Test
	switch what {
	case "tests":
		found, err = soak.Find(".", "Test", "Soak")
	case "fuzz":
		found, err = soak.Find(".", "Fuzz")
	default:
		err = errors.New("usage: run [-only regexp] [-time duration] tests|fuzz")
	}
	if err != nil {
		return err
	}
	var all []soak.Test
	for _, t := range found {
		if matches.MatchString(t.String()) {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("nothing matches %q", only)
	}
	each := max(10*time.Second, (length / time.Duration(len(all))).Truncate(time.Second))
	for _, t := range all {
		if what == "fuzz" {
			err = fuzz(t, each)
		} else {
			err = execute(os.Stdout, "env", append([]string{"CGO_ENABLED=1", "KEYBEARER_SOAK=1"}, t.Command()...)...)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	return nil
}

func execute(out io.Writer, name string, args ...string) error {
	fmt.Println("   ", name, strings.Join(args, " "))
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = out, os.Stderr
	return c.Run()
}

func fuzz(t soak.Test, each time.Duration) error {
	var out bytes.Buffer
	if err := execute(io.MultiWriter(os.Stdout, &out), "go", "test", t.Package, "-run", "^$", "-fuzz", "^"+t.Name+"$", "-fuzztime", each.String()); err != nil {
		return err
	}
	tried, err := executions(out.String())
	if err != nil {
		return err
	}
	return soak.Write(soak.Page, []soak.Row{{
		What: "fuzzing of `" + t.Name + "`", Size: soak.Count(tried) + " executions",
		Result: "0 failures in " + each.String(), Date: time.Now().UTC(),
		Command: fmt.Sprintf("go test %s -run '^$' -fuzz '^%s$' -fuzztime %s", t.Package, t.Name, each),
	}})
}

var progress = regexp.MustCompile(`fuzz: elapsed: \S+, execs: (\d+)`)

// executions reads the last count in what the Go command says.
func executions(out string) (int, error) {
	all := progress.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return 0, fmt.Errorf("the Go command told of no executions: %q", out)
	}
	return strconv.Atoi(all[len(all)-1][1])
}
