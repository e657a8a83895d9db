package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Each room holds what it may, and forgets all of it rather than grow.
func TestVerdictsHaveBounds(t *testing.T) {
	now := time.Now()
	key := func(i int) (k [sha256.Size]byte) {
		binary.BigEndian.PutUint64(k[:], uint64(i))
		return k
	}
	for _, c := range []struct {
		err  error
		most int
	}{{nil, maxProven}, {errors.New("refused"), maxOthers}} {
		var v verdicts
		kept := func(i int) bool {
			_, ok := v.get(key(i), now, now)
			return ok
		}
		for i := range c.most {
			v.put(key(i), verdict{err: c.err, from: now, until: now, made: now})
		}
		if !kept(0) || !kept(c.most-1) {
			t.Errorf("up to %d: forgotten", c.most)
		}
		v.put(key(c.most), verdict{err: c.err, from: now, until: now, made: now})
		if kept(0) || !kept(c.most) || len(v.proven)+len(v.others) != 1 {
			t.Errorf("beyond %d: %d and %d are kept", c.most, len(v.proven), len(v.others))
		}
	}
}

func TestTheOverflowIDIsTheKernels(t *testing.T) {
	file := filepath.Join(t.TempDir(), "overflowuid")
	if got := overflow(file); got != 65534 {
		t.Errorf("without the file: %d", got)
	}
	for text, want := range map[string]uint32{"1234\n": 1234, "4294967295\n": 4294967295, "": 65534, "x": 65534, "4294967296": 65534} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := overflow(file); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
}
