package identity

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// directory is a store of one caller, which can be taken away.
type directory struct {
	keybearer.Store
	caller  keybearer.Caller
	err     atomic.Pointer[error] // nil: it is there
	tell    func([]keybearer.Change)
	stopped bool
}

func (d *directory) Caller(ctx context.Context, idOrName string) (*keybearer.Caller, error) {
	if d.err.Load() == nil && idOrName != d.caller.Name && idOrName != d.caller.ID {
		return nil, keybearer.NewError(keybearer.NotFound, "")
	}
	return d.CallerByToken(ctx, keybearer.TokenHash{})
}

func (d *directory) CallerByToken(context.Context, keybearer.TokenHash) (*keybearer.Caller, error) {
	if err := d.err.Load(); err != nil {
		return nil, *err
	}
	return &d.caller, nil
}

func (d *directory) Watch(tell func([]keybearer.Change)) (stop func()) {
	d.tell = tell
	return func() { d.stopped = true }
}

func TestCallersAreForgottenWhenTheyMayHaveChangedAndWhenNobodyAsks(t *testing.T) {
	secret, token := keybearer.NewToken(keybearer.CallerTokenPrefix, time.Now())
	d := &directory{caller: keybearer.Caller{ID: "cal_1", Name: "billing", Tokens: []keybearer.Token{token}}}
	now := time.Now()
	c := NewCallers(d, time.Minute, func() time.Time { return now })
	fill := func() {
		t.Helper()
		_, err := c.ByName(t.Context(), "billing")
		_, terr := c.ByToken(t.Context(), keybearer.HashToken(secret.Reveal()))
		if err != nil || terr != nil || c.names.Len() != 1 || c.tokens.Len() != 1 {
			t.Fatal(err, terr, c.names.Len(), c.tokens.Len())
		}
	}
	for name, forget := range map[string]func(){
		"the caller has changed":     func() { d.tell([]keybearer.Change{{Kind: keybearer.CallerRecord, ID: "cal_1"}}) },
		"everything may have":        func() { d.tell([]keybearer.Change{{Kind: keybearer.AllRecords}}) },
		"nobody asked for that long": func() { now = now.Add(time.Hour); c.Sweep(time.Minute) },
	} {
		fill()
		if forget(); c.names.Len() != 0 || c.tokens.Len() != 0 {
			t.Errorf("%s: %d names and %d tokens are left", name, c.names.Len(), c.tokens.Len())
		}
	}
	fill()
	d.tell([]keybearer.Change{{Kind: keybearer.ScopeRecord, ID: "cal_1"}, {Kind: keybearer.CallerRecord, ID: "cal_2"}})
	now = now.Add(time.Minute / 2)
	if c.Sweep(time.Second); c.names.Len() != 1 || c.tokens.Len() != 1 {
		t.Error("forgotten without a reason")
	}
	if c.Close(); !d.stopped {
		t.Error("it follows the store for ever")
	}
}

func TestACallerWhoseStoreCannotAnswerIsNotUnknown(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	d := &directory{caller: keybearer.Caller{ID: "cal_1", Name: "billing"}}
	c := NewCallers(d, time.Minute, time.Now)
	if _, err := c.ByName(t.Context(), "cal_1"); keybearer.CodeOf(err) != keybearer.CallerUnauthenticated {
		t.Errorf("by its id: %v", err)
	}
	away := errors.New("away")
	d.err.Store(&away)
	for _, by := range []func(context.Context) (*keybearer.Caller, error){
		func(ctx context.Context) (*keybearer.Caller, error) { return c.ByName(ctx, "billing") },
		func(ctx context.Context) (*keybearer.Caller, error) {
			return c.ByToken(ctx, keybearer.HashToken("kb_a"))
		},
		func(ctx context.Context) (*keybearer.Caller, error) {
			return Fixed{c}.Identify(ctx, &keybearer.Evidence{Fixed: "billing"})
		},
	} {
		if who, err := by(t.Context()); who != nil || keybearer.CodeOf(err) != keybearer.StoreUnavailable {
			t.Errorf("%v, %v", who, err)
		}
		if who, err := by(gone); who != nil || keybearer.CodeOf(err) != keybearer.CallerGone {
			t.Errorf("gone: %v, %v", who, err)
		}
	}
	d.err.Store(nil)
	if _, err := (Fixed{c}).Identify(t.Context(), &keybearer.Evidence{Fixed: "nobody"}); err != error(errFixed) { // which has a code in common with others
		t.Errorf("one that is not there: %v", err)
	}
}
