package revocation

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheFingerprintIsOfWhatTheFilesHold(t *testing.T) {
	root, path := newRoot("root"), filepath.Join(t.TempDir(), "x.crl")
	list := root.revoke(nil)
	prints := map[string]bool{}
	for _, content := range [][]byte{list, inPEM(list), root.revoke(nil), inPEM(list, root.revoke(nil))} {
		write(t, path, content)
		prints[must(Fingerprint(path))] = true
	}
	if len(prints) != 3 {
		t.Errorf("%d fingerprints of three", len(prints))
	}
}

// Whatever changes about a file, its time, its length or its place on the disk, it is read anew.
func TestAnyChangeOfAFileIsSeen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		root := newRoot("root")
		leaf := root.issue("leaf.test")
		clear, named := inPEM(root.revoke(nil)), inPEM(root.revoke([]*authority{leaf}))
		padded := func(list []byte, length int) []byte {
			return append(list[:len(list):len(list)], bytes.Repeat([]byte("\n"), length-len(list))...)
		}
		const length = 4096
		when := time.Now()
		for how, replace := range map[string]func(path string){
			"the time": func(path string) {
				write(t, path, padded(named, length))
				_ = os.Chtimes(path, when, when.Add(time.Second))
			},
			"the size": func(path string) { write(t, path, padded(named, length+1)); _ = os.Chtimes(path, when, when) },
			"the place": func(path string) {
				write(t, path+".new", padded(named, length))
				_ = os.Chtimes(path+".new", when, when)
				_ = os.Rename(path+".new", path)
			},
		} {
			path := filepath.Join(t.TempDir(), "x.crl")
			write(t, path, padded(clear, length))
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			l := must(Open(slog.New(slog.NewTextHandler(&log, nil)), path))
			replace(path)
			time.Sleep(lookEvery + time.Second)
			if err := l.Check(chain(leaf, root)); err != Revoked {
				t.Errorf("%s: %v", how, err)
			}
			_ = l.Close()
			if !strings.Contains(log.String(), "read anew") {
				t.Errorf("%s: the log says %q", how, log.String())
			}
		}
	})
}

func TestAFileThatComesBackIsReadAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		defer slog.SetDefault(slog.Default())
		slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
		root, path := newRoot("root"), filepath.Join(t.TempDir(), "x.crl")
		leaf := root.issue("leaf.test")
		write(t, path, root.revoke(nil))
		l := must(Open(nil, path))
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(patience + 2*lookEvery + time.Second)
		if err := l.Check(chain(leaf, root)); err != ListMissing {
			t.Error(err)
		}
		before := l.Issue()
		time.Sleep(time.Minute)
		if l.Issue() != before {
			t.Error("nothing changed, and it is a new issue")
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery + time.Second)
		if err := l.Check(chain(leaf, root)); err != nil {
			t.Error(err)
		}
		_ = l.Close()
		if said := log.String(); strings.Count(said, "cannot be read") != 1 || !strings.Contains(said, path) {
			t.Errorf("the log says %q", said)
		}
	})
}

func TestAReplacedListHoldsWithinSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		root := newRoot("root")
		leaf := root.issue("leaf.test")
		l, paths := open(t, root.revoke(nil))
		c, before := chain(leaf, root), l.Issue()
		if err := l.Check(c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if l.Issue() != before {
			t.Error("a new issue of what has not changed")
		}
		write(t, paths[0]+".new", inPEM(root.revoke([]*authority{leaf})))
		if err := os.Rename(paths[0]+".new", paths[0]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery + time.Second)
		if err := l.Check(c); err != Revoked || l.Issue() == before {
			t.Error(err, l.Issue(), before)
		}
	})
}

func TestAListThatPassesItsTimeIsANewIssue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		root := newRoot("root")
		leaf := root.issue("leaf.test")
		dir := t.TempDir()
		short, long := filepath.Join(dir, "short.crl"), filepath.Join(dir, "long.crl")
		write(t, short, root.revoke(nil))
		write(t, long, root.revoke(nil, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(2 * time.Hour) }))
		var log bytes.Buffer
		l := must(Open(slog.New(slog.NewTextHandler(&log, nil)), short, long))
		before := l.Issue()
		time.Sleep(time.Hour + lookEvery + time.Second)
		if err := l.Check(chain(leaf, root)); err != nil || l.Issue() == before {
			t.Error(err, l.Issue(), before)
		}
		before = l.Issue()
		time.Sleep(time.Hour)
		if err := l.Check(chain(leaf, root)); err != ListExpired || l.Issue() == before {
			t.Error(err, l.Issue(), before)
		}
		before = l.Issue()
		time.Sleep(time.Minute)
		if l.Issue() != before {
			t.Error("nothing changed, and it is a new issue")
		}
		_ = l.Close()
		if said := log.String(); strings.Count(said, short) != 2 || strings.Count(said, long) != 1 || !strings.Contains(said, "not valid now") {
			t.Errorf("the log says %q", said)
		}
		log.Reset()
		_ = must(Open(slog.New(slog.NewTextHandler(&log, nil)), long)).Close()
		if !strings.Contains(log.String(), "not valid now") {
			t.Errorf("at the start the log says %q", log.String())
		}
	})
}

func TestABrokenListCountsForAMomentAndThenRefuses(t *testing.T) {
	root, other := newRoot("root"), newRoot("other")
	leaf, neighbour := root.issue("leaf.test"), other.issue("neighbour.test")
	for how, spoil := range map[string]func(t *testing.T, path string){
		"removed":      func(_ *testing.T, path string) { _ = os.Remove(path) },
		"half-written": func(t *testing.T, path string) { write(t, path, inPEM(root.revoke(nil))[:100]) },
		"emptied":      func(t *testing.T, path string) { write(t, path, nil) },
	} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l, paths := open(t, root.revoke(nil), other.revoke(nil))
				spoil(t, paths[0])
				time.Sleep(patience / 2)
				if err := l.Check(chain(leaf, root)); err != nil {
					t.Errorf("at first: %v", err)
				}
				before := l.Issue()
				time.Sleep(patience)
				if err := l.Check(chain(leaf, root)); err != ListMissing || l.Issue() == before {
					t.Errorf("later: %v", err)
				}
				if err := l.Check(chain(neighbour, other)); err != nil {
					t.Errorf("the other file: %v", err)
				}
				write(t, paths[0], inPEM(root.revoke(nil)))
				time.Sleep(lookEvery + time.Second)
				if err := l.Check(chain(leaf, root)); err != nil {
					t.Errorf("mended: %v", err)
				}
			})
		})
	}
}

func TestAnIssuerThatHadAListIsRefusedWithoutOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		root, other := newRoot("root"), newRoot("other")
		leaf := root.issue("leaf.test")
		l, paths := open(t, inPEM(other.revoke(nil), root.revoke(nil)))
		write(t, paths[0], inPEM(other.revoke(nil))) // cut between two lists
		time.Sleep(lookEvery + time.Second)
		if err := l.Check(chain(leaf, root)); err != ListMissing {
			t.Error(err)
		}
		write(t, paths[0], inPEM(root.revoke([]*authority{leaf})))
		time.Sleep(lookEvery + time.Second)
		if err := l.Check(chain(leaf, root)); err != Revoked {
			t.Error(err)
		}
	})
}
