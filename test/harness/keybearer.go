package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// Keybearer is a running keybearer server: the real binary with the repository's Caddyfile.
type Keybearer struct {
	*Process
	Home   string
	Config string         // path of its Caddyfile
	Proxy  netip.AddrPort // where apps connect to
	Admin  netip.AddrPort // the admin API over TCP
	Socket string         // the admin socket

	options KeybearerOptions
}

// KeybearerOptions say how a Keybearer is set up. The zero value is the repository's Caddyfile on free ports and an empty
// home.
type KeybearerOptions struct {
	Home    string   // "": a new directory
	Options string   // lines for the global option keybearer
	Sites   string   // further sites, behind those of the Caddyfile
	Env     []string // added to the environment of the server
	CPU     string   // as in Command
	Files   uint64   // as in Command
}

// StartKeybearer starts a server and waits until it serves.
func StartKeybearer(tb TB, o KeybearerOptions) *Keybearer {
	tb.Helper()
	k := NewKeybearer(tb, o)
	if err := k.TryStart(tb); err != nil {
		tb.Fatalf("start keybearer: %v", err)
	}
	return k
}

// NewKeybearer prepares a server and does not start it.
func NewKeybearer(tb TB, o KeybearerOptions) *Keybearer {
	tb.Helper()
	if o.Home == "" {
		o.Home = filepath.Join(Dir(tb), "home")
	}
	k := &Keybearer{
		Home: o.Home, Config: filepath.Join(Dir(tb), "Caddyfile"), Socket: filepath.Join(o.Home, "admin.sock"),
		Proxy: netip.AddrPortFrom(Address(), 9080), Admin: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), FreePort(tb)),
		options: o,
	}
	k.Configure(tb, o.Options, o.Sites)
	return k
}

// Configure writes the Caddyfile anew: the repository's, with these lines in the global option keybearer and these sites
// at its end. A running server takes it over with [Keybearer.Reload].
func (k *Keybearer) Configure(tb TB, options, sites string) {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(Repository(), "Caddyfile"))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	const bare = "\n\tkeybearer\n}\n" // the end of the global options
	before, after, ok := strings.Cut(string(text), bare)
	if !ok {
		tb.Fatalf("the repository's Caddyfile has no bare keybearer at the end of the global options")
	}
	config := before + "\n\tkeybearer {\n\t\t" + strings.ReplaceAll(options, "\n", "\n\t\t") + "\n\t}\n}\n" + after
	if sites != "" {
		config += "\n" + sites + "\n"
	}
	WriteFile(tb, k.Config, []byte(config))
}

// TryStart starts the server, for the first time or again after it has ended, and waits until it serves.
func (k *Keybearer) TryStart(tb TB) error {
	tb.Helper()
	binary, err := Binary()
	if err != nil {
		return err
	}
	proxy := Accepts(k.Proxy)
	var unix net.Dialer
	k.Process, err = TryStart(tb, Command{
		Name: "keybearer", Path: binary, Args: []string{"run", "--config", k.Config, "--adapter", "caddyfile"},
		Env: append(k.Env(), k.options.Env...), Dir: filepath.Dir(k.Config), CPU: k.options.CPU, Files: k.options.Files,
		Ready: func(ctx context.Context) error {
			if err := proxy(ctx); err != nil {
				return err
			}
			conn, err := unix.DialContext(ctx, "unix", k.Socket)
			if err == nil {
				err = conn.Close()
			}
			return err
		},
	})
	return err
}

// Restart stops the server if it runs, and starts it again.
func (k *Keybearer) Restart(tb TB) {
	tb.Helper()
	k.Stop(tb)
	if err := k.TryStart(tb); err != nil {
		tb.Fatalf("restart keybearer: %v", err)
	}
}

// Reload makes the server read its Caddyfile again. It returns at once; the server's log tells when it is done.
func (k *Keybearer) Reload() { k.Signal(syscall.SIGUSR1) }

// Env is the environment in which the server runs and the command line finds it.
func (k *Keybearer) Env() []string {
	return []string{
		"KEYBEARER_HOME=" + k.Home,
		"KEYBEARER_BIND=" + k.Proxy.Addr().String(),
		fmt.Sprintf("KEYBEARER_PORT=%d", k.Proxy.Port()),
		fmt.Sprintf("KEYBEARER_ADMIN_PORT=%d", k.Admin.Port()),
		"HOME=" + k.Home, "XDG_DATA_HOME=" + k.Home, "XDG_CONFIG_HOME=" + k.Home, // Caddy's own files
	}
}

// CLI runs a command of the binary against this server.
func (k *Keybearer) CLI(tb TB, stdin string, args ...string) Result {
	tb.Helper()
	binary, err := Binary()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return Run(tb, Command{Path: binary, Args: args, Env: k.Env(), Dir: filepath.Dir(k.Config)}, stdin)
}

// Do is CLI for a command that must succeed. It returns its output without blanks around it.
func (k *Keybearer) Do(tb TB, stdin string, args ...string) string {
	tb.Helper()
	r := k.CLI(tb, stdin, args...)
	if r.Code != 0 {
		tb.Fatalf("keybearer %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// Repository returns the top directory of the source tree.
func Repository() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Binary returns the path of the binary under test: KEYBEARER_BINARY, or else one that is built when it is first asked for.
var Binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("KEYBEARER_BINARY"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("KEYBEARER_BINARY: %w", err)
		}
		return path, nil
	}
	path := filepath.Join(Repository(), "bin", "keybearer")
	build := exec.Command("go", "build", "-o", path, "./cmd/keybearer")
	build.Dir, build.Env = Repository(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return path, nil
})
