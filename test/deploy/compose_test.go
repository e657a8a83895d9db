package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

const compose = "../../deploy/compose/"

// project loads compose.yaml as docker compose does, with every profile.
func project(t *testing.T, change func(string) string) (*types.Project, error) {
	t.Helper()
	dir, err := filepath.Abs(compose)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	changed := change(string(text))
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: dir, ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "compose.yaml"), Content: []byte(changed)}},
	}, func(o *loader.Options) { o.Profiles = []string{"*"} })
}

func same(text string) string { return text }

// composeProblems lists what is wrong with the project beyond what compose itself refuses.
func composeProblems(t *testing.T, p *types.Project) []string {
	t.Helper()
	var found []string
	problem := func(parts ...string) { found = append(found, strings.Join(parts, " ")) }
	used := map[string]bool{}
	for name, s := range p.Services {
		if s.Build == nil && !pinned.MatchString(s.Image) {
			problem(name, "has an image without a fixed version:", s.Image)
		}
		for on, d := range s.DependsOn {
			if d.Condition == types.ServiceConditionHealthy && p.Services[on].HealthCheck == nil {
				problem(name, "waits for", on, "to be healthy, which has no health check")
			}
			if done := d.Condition == types.ServiceConditionCompletedSuccessfully; done && p.Services[on].Restart != "" {
				problem(name, "waits for the end of", on, "which is started again")
			}
		}
		for _, v := range s.Volumes {
			switch v.Type {
			case types.VolumeTypeVolume:
				used[v.Source] = true
			case types.VolumeTypeBind:
				if _, err := os.Stat(v.Source); err != nil {
					problem(name, "mounts what is not there:", filepath.Base(v.Source))
				}
				if !v.ReadOnly {
					problem(name, "may write to", filepath.Base(v.Source))
				}
			}
		}
	}
	for name := range p.Volumes {
		if !used[name] {
			problem("nothing mounts the volume", name)
		}
	}
	// Who is on a network that leads out, or on one with the app.
	for name, s := range p.Services {
		for network := range s.Networks {
			if name != "keybearer" && !p.Networks[network].Internal {
				problem(name, "has a way out")
			}
			if _, with := p.Services["app"].Networks[network]; with && name != "app" && name != "keybearer" {
				problem("the app reaches", name)
			}
		}
		if len(s.Ports) > 0 || s.NetworkMode != "" && s.NetworkMode != "none" {
			problem(name, "is on the machine's network")
		}
	}
	// Who mounts what is secret: those that it is for, and who writes it.
	may := map[string][]string{
		"for-postgres": {"postgres", "prepare"}, "for-vault": {"prepare", "vault"}, "for-keybearer": {"keybearer", "prepare", "vault-setup"}, "unseal": {"vault-setup"},
		"postgres": {"postgres"}, "vault": {"vault"}, "keybearer": {"keybearer"},
	}
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if allowed, secret := may[v.Source]; v.Type == types.VolumeTypeVolume && (secret != slices.Contains(allowed, name) || !secret && v.Source != "public") {
				problem(name, "mounts", v.Source)
			}
		}
	}
	for _, name := range []string{"keybearer", "app"} {
		s := p.Services[name]
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || s.Privileged || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			problem(name, "may more than it needs")
		}
	}
	return found
}

// Compose takes the file, and what it names is there: the app has no way but Keybearer, and each secret is where it is read and nowhere else.
func TestTheComposeFile(t *testing.T) {
	p, err := project(t, same)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range composeProblems(t, p) {
		t.Error(problem)
	}
	text, err := os.ReadFile(compose + "Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	take(t, "compose", string(text))
	mounts := map[string]bool{}
	for _, v := range p.Services["keybearer"].Volumes {
		mounts[v.Target] = true
	}
	for _, m := range absolute.FindAllStringSubmatch(string(text), -1) {
		if !mounts[filepath.Dir(m[1])] {
			t.Errorf("the Caddyfile names %s, which is in no mount", m[1])
		}
	}
}

func TestAMistakeInTheComposeFileIsFound(t *testing.T) {
	for _, mistake := range []struct{ name, old, new, want string }{
		{"a field that there is not", "depends_on:", "depend_on:", "depend_on false schema"},
		{"a field in another case", "read_only: true", "readOnly: true", "readOnly false schema"},
		{"a field twice", "    read_only: true\n", "    read_only: true\n    read_only: true\n", "already defined"},
		{"a condition", "service_healthy", "healthy", "value must be one of"},
		{"a service", "vault-setup: {condition", "vault-set-up: {condition", `depends on undefined service "vault-set-up"`},
		{"a volume", "- keybearer:/data", "- keybearers:/data", `undefined volume keybearers`},
		{"a network", "networks: [apps]", "networks: [app]", `undefined network app`},
		{"a file", "./postgres-init.sh", "./postgres.sh", "postgres mounts what is not there: postgres.sh"},
		{"no health check", "    healthcheck:\n      test: [CMD, pg_isready, --quiet, --host=127.0.0.1, --dbname=keybearer]\n      interval: 2s\n      timeout: 5s\n      retries: 60\n", "", "waits for postgres to be healthy, which has no health check"},
		{"a way out for the app", "networks: [apps]", "networks: [apps, outside]", "app has a way out"},
		{"a network that leads out", "apps: {internal: true}", "apps: {}", "app has a way out"},
		{"an app beside the store", "networks: [apps]", "networks: [apps, backends]", "the app reaches postgres"},
		{"an app with secrets", "    command: [sleep, infinity]\n", "    command: [sleep, infinity]\n    volumes: [\"for-keybearer:/x:ro\"]\n", "app mounts for-keybearer"},
		{"the unseal key", "      - vault:/vault/file\n", "      - vault:/vault/file\n      - unseal:/unseal\n", "vault mounts unseal"},
		{"a file that may be written to", "./Caddyfile:/etc/keybearer/Caddyfile:ro", "./Caddyfile:/etc/keybearer/Caddyfile", "keybearer may write to Caddyfile"},
		{"a capability", "    cap_drop: [ALL]\n", "", "keybearer may more than it needs"},
		{"an image without a version", "hashicorp/vault:1.21.2", "hashicorp/vault:latest", "image without a fixed version"},
		{"what is waited for and started again", "    entrypoint: [sh, /vault-setup.sh]\n", "    entrypoint: [sh, /vault-setup.sh]\n    restart: always\n", "which is started again"},
		{"the machine's network", "    networks: [apps]\n", "    network_mode: host\n", "app is on the machine's network"},
	} {
		t.Run(mistake.name, func(t *testing.T) {
			hit := false
			p, err := project(t, func(text string) string {
				changed := strings.Replace(text, mistake.old, mistake.new, 1)
				hit = changed != text
				return changed
			})
			if !hit {
				t.Fatalf("there is no %q", mistake.old)
			}
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = strings.Join(composeProblems(t, p), "\n")
			}
			if !strings.Contains(got, mistake.want) {
				t.Errorf("found %s\nnot %s", got, mistake.want)
			}
		})
	}
}

// What is set up of Vault and PostgreSQL is what the pages say: the policies to the letter, the commands line by line in their order.
func TestTheSetUpIsThatOfThePages(t *testing.T) {
	for _, name := range []string{"keybearer-data.hcl", "keybearer-control.hcl"} {
		text, err := os.ReadFile("../../deploy/vault/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(page(t, "vault.md"), "\n```hcl\n"+string(text)+"```\n") {
			t.Errorf("%s is not the text of docs/vault.md", name)
		}
	}
	_, setUp, _ := strings.Cut(page(t, "vault.md"), "\n## Set it up\n")
	setUp, _, _ = strings.Cut(setUp, "\n## ")
	inOrder(t, "vault-setup.sh", blocks(setUp, "bash"))
	password := regexp.MustCompile(`'…'`)
	inOrder(t, "postgres-init.sh", []string{password.ReplaceAllString(blocks(page(t, "postgres.md"), "sql")[0], `:'password'`)})
}

// inOrder fails unless a script has the lines of these blocks, each after the one before; a line of the script may have more in it.
func inOrder(t *testing.T, script string, blocks []string) {
	t.Helper()
	text, err := os.ReadFile(compose + script)
	if err != nil {
		t.Fatal(err)
	}
	rest, n := string(text), 0
	for _, b := range blocks {
		for line := range strings.Lines(b) {
			line = strings.TrimSuffix(line, "\n")
			_, after, ok := strings.Cut(rest, line+"\n")
			if !ok {
				t.Errorf("%s lacks, or has elsewhere, %q", script, line)
				continue
			}
			rest = after
			n++
		}
	}
	if n < 3 {
		t.Errorf("%s: only %d lines were compared", script, n)
	}
}
