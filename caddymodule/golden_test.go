package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer/test/harness"
)

var update = flag.Bool("update", false, "write what the goldens give now; read the difference before you commit it")

const divider = "\n----------\n"

// TestCaddyfile runs the goldens: a Caddyfile, a line of dashes, and the JSON that it adapts to, or the error that adapting or
// validating gives. None may leave anything behind.
func TestCaddyfile(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d goldens, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(golden), divider)
			if !ok && !*update {
				t.Fatal("the file has no divider")
			}
			home := t.TempDir()
			stage(t, home)
			t.Setenv("KEYBEARER_HOME", filepath.Join(home, "kb"))
			t.Setenv("STAGE", home)
			t.Setenv("NAMESERVER", "10.0.0.53:53")
			t.Setenv("TEST_KEK", "unread")
			t.Setenv("TEST_DSN", "postgres://keybearer:s3cret@db.example.com/keybearer")
			t.Setenv("TEST_PASSWORD", "s3cret")
			t.Setenv("TEST_ROLE_ID", "5f0c0ba8-6d10-4b0c-9a4c-2f6d6d6c6d6e")
			before := tree(t, home)

			got := adaptAndValidate(input + "\n")
			got = strings.ReplaceAll(got, home, "$STAGE")
			if *update {
				if err := os.WriteFile(file, []byte(strings.TrimSuffix(input, "\n")+divider+got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := cmp.Diff(strings.TrimSpace(want), got); d != "" {
				t.Errorf("differs (-want +got):\n%s", d)
			}
			if d := cmp.Diff(before, tree(t, home)); d != "" {
				t.Errorf("adapting and validating changed files (-before +after):\n%s", d)
			}
		})
	}
}

// stage puts down what the goldens refer to.
func stage(t *testing.T, dir string) {
	t.Helper()
	for name, content := range map[string]string{"ca.pem": rootPEM, "not-a.pem": "hello\n", "plain-file": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca := harness.NewCA(t)
	if err := os.WriteFile(filepath.Join(dir, "ca.crl"), ca.Revoke(t, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	pair, err := os.ReadFile(ca.ClientFiles(t, "keybearer"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "client.pem"), pair, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// adaptAndValidate returns the JSON, or the error of the step that failed.
func adaptAndValidate(input string) string {
	config, warnings, err := adapt(input)
	if err != nil {
		return err.Error()
	}
	if err := validate(config); err != nil {
		return err.Error()
	}
	var out bytes.Buffer
	if err := json.Indent(&out, config, "", "\t"); err != nil {
		return err.Error()
	}
	for _, w := range warnings {
		out.WriteString("\nwarning: " + w.String())
	}
	return out.String()
}

func adapt(input string) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
}

func validate(config []byte) error {
	var parsed *caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		return err
	}
	return caddy.Validate(parsed)
}

// tree lists all below dir, with size and time of change.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, path+" "+info.Mode().String()+" "+info.ModTime().String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
