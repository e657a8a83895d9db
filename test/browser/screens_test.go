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

	"github.com/keybearer/keybearer/test/harness"
)

// screensEnv says what to do with docs/screens: "write" draws it anew.
const screensEnv = "KEYBEARER_SCREENS"

// Every screen and state of flows/screens.mjs is sound in every look, and docs/screens shows them all.
func TestEveryScreenIsSound(t *testing.T) {
	drawn := ""
	if os.Getenv(screensEnv) == "write" {
		drawn = harness.Dir(t)
	}
	for _, empty := range []bool{true, false} {
		w := (*world)(nil)
		if empty {
			w = newEmpty(t)
		} else {
			w = newSample(t)
		}
		w.play("screens", map[string]any{"directory": drawn, "empty": empty}, map[string]call{
			"gallery": func(args []json.RawMessage) (any, error) {
				var screens []screen
				if err := arguments(args, &screens); err != nil {
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
}

var (
	gallery  = filepath.Join(harness.Repository(), "docs", "screens")
	suffixes = []string{"", ".dark", ".narrow"}
)

// page is the page of the gallery.
func page(screens []screen) string {
	var b strings.Builder
	b.WriteString("# Screens\n\nThe console with sample data, in a light and a dark window and in a narrow one. `make screens` draws them anew.\n")
	for _, s := range screens {
		fmt.Fprintf(&b, "\n## %s\n\n", s.Shows)
		fmt.Fprintf(&b, "| light | dark | narrow |\n|---|---|---|\n|")
		for i, suffix := range suffixes {
			fmt.Fprintf(&b, ` <img src="%s%s.png" alt="%s, %s" width="%d"> |`, s.Name, suffix, s.Shows, []string{"light", "dark", "narrow"}[i], []int{400, 400, 160}[i])
		}
		b.WriteString("\n")
	}
	return b.String()
}

func checkGallery(screens []screen) error {
	want := []string{"README.md"}
	for _, s := range screens {
		for _, suffix := range suffixes {
			want = append(want, s.Name+suffix+".png")
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
		for _, suffix := range suffixes {
			name := s.Name + suffix + ".png"
			if err := shrink(filepath.Join(drawn, name), filepath.Join(gallery, name)); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(gallery, "README.md"), []byte(page(screens)), 0o644)
}
