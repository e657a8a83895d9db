package identity

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

func numbered(n uint64) (h keybearer.TokenHash) {
	binary.BigEndian.PutUint64(h[:], n)
	return h
}

// Who is known takes up bounded room, however many there are.
func TestKnownTokensTakeUpBoundedRoom(t *testing.T) {
	b := newBudget(time.Now)
	for n := range uint64(knownTokens + 1000) {
		b.found(numbered(n), false)
		if _, ok := b.take(numbered(n)); !ok {
			t.Fatal("the newest is forgotten")
		}
	}
	if len(b.known) != knownTokens || b.left != missesAtOnce {
		t.Errorf("%d are known, %v are left", len(b.known), b.left)
	}
}

// A known token paid nothing, and gets nothing back when nobody can say whether it still holds.
func TestAKnownTokenGivesNobodyMore(t *testing.T) {
	at := time.Now()
	b := newBudget(func() time.Time { return at })
	b.found(numbered(1), false)
	b.left = 0
	load := b.guard(func(context.Context, keybearer.TokenHash) (*keybearer.Caller, []string, error) {
		return nil, nil, keybearer.NewError(keybearer.StoreUnavailable, "")
	})
	if _, _, err := load(t.Context(), numbered(1)); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
		t.Fatal(err)
	}
	if _, ok := b.take(numbered(2)); ok || b.left != 0 {
		t.Error("an unknown token is looked up at a known one's cost")
	}
}
