package browser

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/browser/play"
	"github.com/keybearer/keybearer/test/harness"
)

// naughtyEnv, set to "all", takes every string. Otherwise it is another quarter of them each time.
const naughtyEnv = "KEYBEARER_NAUGHTY"

func TestNaughtyStringsAreNothingButText(t *testing.T) {
	var list []string
	b, err := os.ReadFile(filepath.Join(harness.Repository(), "test", "corpora", "blns.json"))
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil || len(list) < 400 {
		t.Fatal(len(list), err)
	}
	if os.Getenv(naughtyEnv) != "all" {
		seed := uint64(time.Now().UnixNano())
		t.Logf("a quarter of the strings, drawn with %d", seed)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		list = list[:len(list)/4]
	}
	w := newWorld(t)
	w.Do(t, "", "operator", "create", "eve")
	w.Do(t, "", "grant", "add", "docs/crm", "user:ada", "administer")
	w.play("naughty", map[string]any{"strings": list}, map[string]play.Call{
		// ask(paths) asks the proxy for each of the paths, byte for byte.
		"ask": func(args []json.RawMessage) (any, error) {
			var paths []string
			if err := play.Arguments(args, &paths); err != nil {
				return nil, err
			}
			for _, path := range paths {
				if err := w.ask(path); err != nil {
					return nil, fmt.Errorf("%s: %w", path, err)
				}
			}
			return nil, nil
		},
	})
}

// ask sends a request for a path that no client would send. Whatever the answer is, it is one.
func (w *world) ask(path string) error {
	conn, err := net.Dial("tcp", w.Proxy.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = fmt.Fprintf(conn, "GET http://%s%s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Bearer %s\r\nKeybearer-Credential: docs/crm\r\nConnection: close\r\n\r\n",
		destination, path, destination, w.Token)
	if err != nil {
		return err
	}
	_, err = io.ReadAll(conn)
	return err
}
