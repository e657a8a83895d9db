package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// page returns one of the documentation.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks returns those of a page that are marked with the language.
func blocks(page, language string) []string {
	var found []string
	for _, part := range strings.Split(page, "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```\n")
		found = append(found, block+"\n")
	}
	return found
}

// keybearer runs the real binary.
func keybearer(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	binary := os.Getenv("KEYBEARER_BINARY")
	if binary == "" {
		t.Fatal("KEYBEARER_BINARY names no binary: make build, and set it to bin/keybearer")
	}
	return exec.Command(binary, args...).CombinedOutput()
}

// Each block of YAML on the two pages is a piece of one of the files, word for word.
func TestWhatThePagesShowIsInTheFiles(t *testing.T) {
	var files []string
	for _, pattern := range []string{manifests + "*/*.yaml", compose + "*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString("\n" + string(text))
	}
	n := 0
	for _, name := range []string{"kubernetes.md", "containers.md"} {
		for _, b := range blocks(page(t, name), "yaml") {
			n++
			if !strings.Contains(all.String(), "\n"+b) {
				t.Errorf("%s shows what is in no file:\n%s", name, b)
			}
		}
	}
	if n < 4 {
		t.Errorf("only %d blocks were found", n)
	}
}
