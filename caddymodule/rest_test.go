package caddymodule

import (
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// The table of options that have changed is empty today. What it is for works: an option is found where it is used, and nowhere else.
func TestOptionsThatHaveChanged(t *testing.T) {
	table := []changedOption{
		{Path: "timeouts.dial", Option: "timeouts dial", Since: "1.4", Says: "it covers the name server too", Fix: "raise it by a second"},
		{Handler: "keybearer_admin", Path: "console", Option: "keybearer_admin console", Since: "2.0", Says: "it is gone", Fix: "remove it"},
	}
	for name, c := range map[string]struct {
		config string
		want   []string
	}{
		"nothing of ours":            {`{"apps":{"http":{"servers":{}}}}`, nil},
		"other options":              {`{"apps":{"keybearer":{"timeouts":{"idle":1}}}}`, nil},
		"an option of the app":       {`{"apps":{"keybearer":{"timeouts":{"dial":1}}}}`, []string{"timeouts dial"}},
		"in another app":             {`{"apps":{"other":{"timeouts":{"dial":1}}}}`, nil},
		"of a handler, deep within":  {`{"apps":{"http":{"routes":[{"handle":[{"handler":"keybearer_admin","console":"off"}]}]}}}`, []string{"keybearer_admin console"}},
		"of another handler":         {`{"apps":{"http":{"routes":[{"handle":[{"handler":"keybearer","console":"off"}]}]}}}`, nil},
		"both, and a part of a path": {`{"apps":{"keybearer":{"timeouts":{"dial":1}},"http":[{"handler":"keybearer_admin","console":{}}]}}`, []string{"timeouts dial", "keybearer_admin console"}},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := changedIn([]byte(c.config), table)
			if err != nil || len(found) != len(c.want) {
				t.Fatalf("%v, %v", found, err)
			}
			for i, f := range found {
				if !strings.HasPrefix(f.Detail, c.want[i]+": since ") || !f.Warn || f.Err.Advice() == "" || f.Check != "configuration" {
					t.Errorf("%+v, want %s", f, c.want[i])
				}
			}
		})
	}
}

func TestRoomForBackupAndMigration(t *testing.T) {
	for name, c := range map[string]struct {
		need, free int64
		code       keybearer.Code
	}{
		"plenty":           {1e6, 1e9, ""},
		"just as much":     {1e6, 1e6, ""},
		"too little":       {1e6, 1e6 - 1, keybearer.StoreUnavailable},
		"it is not known":  {1e6, -1, ""},
		"none on the disk": {1, 0, keybearer.StoreUnavailable},
	} {
		if f := room("/var/lib", c.need, c.free); f.Err == nil && c.code != "" || f.Err != nil && f.Err.Code != c.code || f.Detail == "" {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if free := freeSpace(t.TempDir()); free <= 0 {
		t.Errorf("%d bytes are free here", free)
	}
}

// In a fleet every other version is told of, one that does not tell its version too.
func TestVersionsInAFleet(t *testing.T) {
	for name, c := range map[string]struct {
		nodes []sqlstore.Node
		warn  bool
		says  string
	}{
		"all alike":      {[]sqlstore.Node{{Name: "n1", Version: "v2"}, {Name: "n2", Version: "v2"}}, false, "n1 v2, n2 v2, as this binary"},
		"one is older":   {[]sqlstore.Node{{Name: "n1", Version: "v2"}, {Name: "n2", Version: "v1"}}, true, "this binary is v2; connected are n2 v1"},
		"one says none":  {[]sqlstore.Node{{Name: "n1", Version: ""}}, true, "n1 of an unknown version"},
		"one is younger": {[]sqlstore.Node{{Name: "n1", Version: "v3"}}, true, "n1 v3"},
	} {
		if f := fleet(c.nodes, "v2"); f.Warn != c.warn || (f.Err != nil) != c.warn || !strings.Contains(f.Detail, c.says) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}
