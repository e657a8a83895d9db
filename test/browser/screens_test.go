package browser

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/browser/play"
	"github.com/keybearer/keybearer/test/harness"
)

// screensEnv says what to do with docs/screens: "write" draws it anew.
const screensEnv = "KEYBEARER_SCREENS"

// Every screen and state of flows/screens.mjs is sound in every look, and docs/screens shows them all.
func TestEveryScreenIsSound(t *testing.T) {
	drawn, only := "", append([]string{}, strings.Fields(os.Getenv("KEYBEARER_SCREEN"))...) // names, for who works on some
	if os.Getenv(screensEnv) == "write" {
		drawn = harness.Dir(t)
	}
	for _, server := range []struct {
		name  string
		start func(*testing.T) *world
	}{{"first", newServer}, {"new", newEmpty}, {"sample", newSample}} {
		w := server.start(t)
		given := map[string]any{"directory": drawn, "on": server.name, "tokens": w.tokens, "only": only}
		if server.name == "first" {
			given["link"] = w.Do(t, "", "operator", "setup")
		}
		w.play("screens", given, map[string]play.Call{
			"gallery": func(args []json.RawMessage) (any, error) {
				var screens []screen
				if err := play.Arguments(args, &screens); err != nil {
					return nil, err
				}
				if drawn != "" {
					return nil, writeGallery(drawn, screens)
				}
				return nil, checkGallery(screens)
			},
		})
	}
}

// screen has pictures in docs/screens, by its name and a suffix for the look.
type screen struct {
	Name  string `json:"name"`
	Shows string `json:"shows"`
	// Narrow: it is there only in a narrow window.
	Narrow bool `json:"narrow"`
}

// look is a picture of a screen: the suffix of its name, how it is called, and how wide the page shows it.
type look struct {
	suffix, name string
	width        int
}

// looks are the pictures that there are of the screen.
func (s screen) looks() []look {
	narrow := look{".narrow", "narrow", 160}
	if s.Narrow {
		return []look{narrow}
	}
	return []look{{"", "light", 400}, {".dark", "dark", 400}, narrow}
}

var gallery = filepath.Join(harness.Repository(), "docs", "screens")

// page is the page of the gallery.
func page(screens []screen) string {
	var b strings.Builder
	b.WriteString("# Screens\n\nThe console with sample data, in a light and a dark window and in a narrow one. `make screens` draws them anew.\n")
	for _, s := range screens {
		fmt.Fprintf(&b, "\n## %s\n\n", s.Shows)
		for _, l := range s.looks() {
			fmt.Fprintf(&b, "<img src=\"%s%s.png\" alt=\"%s, %s\" width=\"%d\">\n", s.Name, l.suffix, s.Shows, l.name, l.width)
		}
	}
	return b.String()
}

func checkGallery(screens []screen) error {
	want := []string{"README.md"}
	for _, s := range screens {
		for _, l := range s.looks() {
			want = append(want, s.Name+l.suffix+".png")
		}
	}
	entries, err := os.ReadDir(gallery)
	if err != nil {
		return err
	}
	for _, e := range entries {
		i := slices.Index(want, e.Name())
		if i < 0 {
			err = errors.Join(err, fmt.Errorf("docs/screens/%s shows no screen", e.Name()))
			continue
		}
		want = slices.Delete(want, i, i+1)
	}
	for _, name := range want {
		err = errors.Join(err, fmt.Errorf("docs/screens/%s is missing", name))
	}
	text, readErr := os.ReadFile(filepath.Join(gallery, "README.md"))
	if readErr == nil && string(text) != page(screens) {
		readErr = errors.New("docs/screens/README.md is of other screens")
	}
	return errors.Join(err, readErr)
}

func writeGallery(drawn string, screens []screen) error {
	if err := os.RemoveAll(gallery); err != nil {
		return err
	}
	if err := os.MkdirAll(gallery, 0o755); err != nil {
		return err
	}
	for _, s := range screens {
		for _, l := range s.looks() {
			name := s.Name + l.suffix + ".png"
			if err := shrink(filepath.Join(drawn, name), filepath.Join(gallery, name)); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(gallery, "README.md"), []byte(page(screens)), 0o644)
}
