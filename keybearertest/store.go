package keybearertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keybearer/keybearer"
)

// TestStore checks a [keybearer.Store] against every sentence of its contract. open returns a new, empty store.
func TestStore(t *testing.T, open func(t *testing.T) keybearer.Store) {
	for _, part := range []struct {
		name string
		test func(*testing.T, keybearer.Store)
	}{
		{"Empty", testEmpty},
		{"RoundTrip", testRoundTrip},
		{"Times", testTimes},
		{"NoAliasing", testNoAliasing},
		{"LookUp", testLookUp},
		{"Tokens", testTokens},
		{"Tombstones", testTombstones},
		{"Rename", testRename},
		{"Revisions", testRevisions},
		{"Create", testCreate},
		{"Delete", testDelete},
		{"Malformed", testMalformed},
		{"AllOrNothing", testAllOrNothing},
		{"WritesInOrder", testWritesInOrder},
		{"LargeBatch", testLargeBatch},
		{"OneWinner", testOneWinner},
		{"WholeCommits", testWholeCommits},
		{"Cancelled", testCancelled},
		{"ListByName", testListByName},
		{"ListCredentials", testListCredentials},
		{"ListByID", testListByID},
		{"Search", testSearch},
		{"Limits", testLimits},
		{"Count", testCount},
		{"Outbox", testOutbox},
		{"Feed", testFeed},
		{"Watch", testWatch},
		{"WatchConcurrent", testWatchConcurrent},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// epoch is when the records of the suites were made.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newScope(name string) *keybearer.Scope {
	return &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: name, CreatedAt: epoch, UpdatedAt: epoch}
}

func newCredential(scope *keybearer.Scope, name string) *keybearer.Credential {
	return &keybearer.Credential{
		ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: name, CreatedAt: epoch, UpdatedAt: epoch,
		Current: keybearer.Version{Number: 1, Sealed: []byte("sealed " + name), Terms: keybearer.Terms{Kind: keybearer.Bearer}, CreatedAt: epoch},
	}
}

func newCaller(name string) *keybearer.Caller {
	return &keybearer.Caller{ID: keybearer.NewID(keybearer.IDCaller), Name: name, CreatedAt: epoch, UpdatedAt: epoch}
}

func newOperator(name string) *keybearer.Operator {
	return &keybearer.Operator{ID: keybearer.NewID(keybearer.IDOperator), Name: name, CreatedAt: epoch, UpdatedAt: epoch}
}

// newToken returns a token and its hash.
func newToken(prefix string) (keybearer.Token, keybearer.TokenHash) {
	_, token := keybearer.NewToken(prefix, epoch)
	return token, token.Hash
}

// write makes a Write that puts a record.
func write(record any) keybearer.Write {
	switch r := record.(type) {
	case *keybearer.Scope:
		return keybearer.Write{Scope: r}
	case *keybearer.Credential:
		return keybearer.Write{Credential: r}
	case *keybearer.Caller:
		return keybearer.Write{Caller: r}
	case *keybearer.Operator:
		return keybearer.Write{Operator: r}
	}
	panic(fmt.Sprintf("keybearertest: no record: %T", record))
}

// remove makes a Write that deletes a record for good.
func remove(record any) keybearer.Write {
	w := write(record)
	w.Delete = true
	return w
}

func puts(records ...any) keybearer.Batch {
	var b keybearer.Batch
	for _, r := range records {
		b.Writes = append(b.Writes, write(r))
	}
	return b
}

// commit commits and fails the test when that fails.
func commit(t *testing.T, s keybearer.Store, b keybearer.Batch) uint64 {
	t.Helper()
	seq, err := s.Commit(t.Context(), b)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return seq
}

// refuses checks that a batch is refused with the code and has no effect whatever.
func refuses(t *testing.T, s keybearer.Store, b keybearer.Batch, want keybearer.Code) {
	t.Helper()
	before := everything(t, s)
	told := false
	stop := s.Watch(func([]keybearer.Change) { told = true })
	defer stop()
	if _, err := s.Commit(t.Context(), b); keybearer.CodeOf(err) != want {
		t.Errorf("commit: got error %v, want code %s", err, want)
	}
	if told {
		t.Error("a function registered with Watch was told of a commit that failed")
	}
	if diff := cmp.Diff(before, everything(t, s), same); diff != "" {
		t.Errorf("a commit that failed had an effect (-before +after):\n%s", diff)
	}
}

// content is all that a store shows.
type content struct {
	Scopes      []*keybearer.Scope
	Credentials []*keybearer.Credential
	Callers     []*keybearer.Caller
	Operators   []*keybearer.Operator
	Sequence    uint64
	Changes     []keybearer.Change
	Events      []keybearer.PendingEvent
}

func everything(t *testing.T, s keybearer.Store) content {
	t.Helper()
	all := keybearer.Query{Deleted: true, Limit: 1000}
	var c content
	c.Scopes = must(s.Scopes(t.Context(), all))(t).Items
	c.Credentials = must(s.Credentials(t.Context(), all))(t).Items
	c.Callers = must(s.Callers(t.Context(), all))(t).Items
	c.Operators = must(s.Operators(t.Context(), all))(t).Items
	c.Sequence = must(s.Sequence(t.Context()))(t)
	c.Changes = must(s.Changes(t.Context(), 0, 10_000))(t)
	c.Events = must(s.Events(t.Context(), 10_000))(t)
	return c
}

// must returns a function that gives the value, or ends the test.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// same is equality of records: an empty list is the same as none, and times are compared as moments.
var same = cmp.Options{cmpopts.EquateEmpty()}

// wantCode checks the code of an error.
func wantCode(t *testing.T, what string, err error, want keybearer.Code) {
	t.Helper()
	if got := keybearer.CodeOf(err); got != want {
		t.Errorf("%s: got error %v (%q), want code %q", what, err, got, want)
	}
}

// pages reads a listing to its end, limit records at a time, and checks the form of each page.
func pages[T any](t *testing.T, limit int, q keybearer.Query, list func(context.Context, keybearer.Query) (keybearer.Page[T], error)) []T {
	t.Helper()
	var all []T
	q.Limit = limit
	for range 10_000 {
		p, err := list(t.Context(), q)
		if err != nil {
			t.Fatalf("list %+v: %v", q, err)
		}
		if len(p.Items) > limit {
			t.Fatalf("list %+v: a page of %d records", q, len(p.Items))
		}
		all = append(all, p.Items...)
		if p.Next == "" {
			return all
		}
		if q.AfterID != "" {
			q.AfterID = p.Next
		} else {
			q.Cursor = p.Next
		}
	}
	t.Fatalf("list %+v: it has no end", q)
	return nil
}
