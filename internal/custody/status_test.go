package custody_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func TestStatusNamesThePartThatFails(t *testing.T) {
	l := newLab(t)
	if _, err := l.GenerateKey(t.Context(), by(root), keybearer.GlobalScope); err != nil {
		t.Fatal(err)
	}
	codes := func() map[string]keybearer.Code {
		t.Helper()
		parts, err := l.Status(t.Context(), by(root))
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]keybearer.Code{}
		for _, p := range parts {
			m[p.Name] = codeOf(p.Err)
		}
		return m
	}
	if m := codes(); len(m) != 4 || m["store"]+m["audit"]+m["keyring"]+m["memory"] != "" {
		t.Fatalf("a sound server: %v", m)
	}
	// The store comes back with a keyring that is not its own.
	l.close()
	for _, name := range []string{"keyring.key", "keyring.key.ring"} {
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	l.open()
	if m := codes(); m["keyring"] != "" || m["key of scope global"] != keybearer.KeyringUnavailable {
		t.Fatalf("a keyring without the scope's key: %v", m)
	}
}

// awayKeyring answers for keys that it does not have, and then no more.
type awayKeyring struct{ keybearer.Keyring }

func (k awayKeyring) KeyVersion(ctx context.Context, key string) (uint32, error) {
	n, err := k.Keyring.KeyVersion(ctx, key)
	if err == nil {
		return 0, keybearer.NewError(keybearer.KeyringUnavailable, "Vault does not answer").WithHint("check that it runs")
	}
	return n, err
}

// Who follows the advice to regenerate loses every secret of the scope. It is for keys that are gone, and not for a keyring that is away.
func TestStatusAdvisesNobodyToRegenerateWhileTheKeyringIsAway(t *testing.T) {
	l := newLab(t)
	if _, err := l.GenerateKey(t.Context(), by(root), keybearer.GlobalScope); err != nil {
		t.Fatal(err)
	}
	l.cfg.Keyring = awayKeyring{l.cfg.Keyring}
	c := l.another()
	defer c.Close()
	parts, err := c.Status(t.Context(), by(root))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(parts, func(p custody.Part) bool { return p.Name == "key of scope global" })
	if i < 0 || parts[i].Err == nil || parts[i].Err.Detail != "Vault does not answer" || parts[i].Err.Hint != "check that it runs" {
		t.Fatalf("got %+v", parts)
	}
}

func codeOf(e *keybearer.Error) keybearer.Code {
	if e == nil {
		return ""
	}
	return e.Code
}
