package caddymodule

import (
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestDefaultCaddyfile(t *testing.T) {
	root, err := os.ReadFile("../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	if string(root) != DefaultCaddyfile {
		t.Error("the repository's Caddyfile differs from caddymodule/Caddyfile: copy that one over it")
	}
	if string(caddyfile.Format([]byte(DefaultCaddyfile))) != DefaultCaddyfile {
		t.Error("it is not formatted: keybearer fmt --overwrite")
	}
	home := t.TempDir()
	t.Setenv("KEYBEARER_HOME", home)
	for _, tt := range []struct{ name, port, admin, bind, want string }{
		{"defaults", "", "", "", `"127.0.0.1:9080" "127.0.0.1:9081"`},
		{"environment", "8080", "8081", "10.1.2.3", `"10.1.2.3:8080" "127.0.0.1:8081"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range map[string]string{"KEYBEARER_PORT": tt.port, "KEYBEARER_ADMIN_PORT": tt.admin, "KEYBEARER_BIND": tt.bind} {
				t.Setenv(name, value)
				if value == "" {
					os.Unsetenv(name)
				}
			}
			config, warnings, err := adapt(DefaultCaddyfile)
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			for _, address := range strings.Fields(tt.want) {
				if !strings.Contains(string(config), address) {
					t.Errorf("%s is missing in %s", address, config)
				}
			}
			if err := validate(config); err != nil {
				t.Error(err)
			}
			if left := tree(t, home); len(left) != 1 {
				t.Errorf("validating left %v", left)
			}
		})
	}
}
