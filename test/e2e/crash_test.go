package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/test/harness"
)

// kept is what is to be found again of a credential.
type kept struct {
	Secret                             string
	Disabled, Deleted, Granted, Second bool // Second: a rule for second.example.com
}

func (k kept) usable() bool { return !k.Disabled && !k.Deleted && k.Granted }

// code is how a use is answered.
func (k kept) code() keybearer.Code {
	switch {
	case k.Deleted, !k.Granted:
		return keybearer.CredentialForbidden // a caller that holds use does not learn of a deletion
	case k.Disabled:
		return keybearer.CredentialDisabled
	}
	return ""
}

// change is one thing that an operator does to a credential.
type change struct {
	name  string
	fits  func(kept) bool
	apply func(*kept)
	call  func(context.Context, *admin.Client, keybearer.Ref, kept) (admin.Credential, error)
}

func secretOf(k kept) admin.SecretInput {
	return admin.SecretInput{Secret: admin.NewPlaintext(k.Secret)}
}

var changes = []change{
	{
		"set secret", kept.usable, func(k *kept) { k.Secret = newCanary() },
		func(ctx context.Context, c *admin.Client, ref keybearer.Ref, k kept) (admin.Credential, error) {
			return c.SetSecret(ctx, ref, secretOf(k))
		},
	},
	{
		"add rule", func(k kept) bool { return k.usable() && !k.Second }, func(k *kept) { k.Second, k.Secret = true, newCanary() },
		func(ctx context.Context, c *admin.Client, ref keybearer.Ref, k kept) (admin.Credential, error) {
			return c.AddDestinations(ctx, ref, admin.DestinationChange{
				Destinations: []admin.Destination{{Rule: "second.example.com", Private: true}}, SecretInput: secretOf(k),
			})
		},
	},
	{
		"remove rule", func(k kept) bool { return k.Second && !k.Deleted }, func(k *kept) { k.Second = false },
		func(ctx context.Context, c *admin.Client, ref keybearer.Ref, _ kept) (admin.Credential, error) {
			return c.RemoveDestination(ctx, ref, "https://second.example.com")
		},
	},
	{
		"disable", kept.usable, func(k *kept) { k.Disabled = true },
		func(ctx context.Context, c *admin.Client, ref keybearer.Ref, _ kept) (admin.Credential, error) {
			return c.DisableCredential(ctx, ref)
		},
	},
	{
		"enable", func(k kept) bool { return k.Disabled && !k.Deleted }, func(k *kept) { k.Disabled = false },
		func(ctx context.Context, c *admin.Client, ref keybearer.Ref, _ kept) (admin.Credential, error) {
			return c.EnableCredential(ctx, ref)
		},
	},
	{
		"grant", func(k kept) bool { return !k.Granted && !k.Deleted }, func(k *kept) { k.Granted = true },
		func(ctx context.Context, c *admin.Client, ref keybearer.Ref, _ kept) (admin.Credential, error) {
			return c.SetGrant(ctx, ref, "app:billing", keybearer.Use)
		},
	},
	{
		"revoke", func(k kept) bool { return k.Granted && !k.Deleted }, func(k *kept) { k.Granted = false },
		func(ctx context.Context, c *admin.Client, ref keybearer.Ref, _ kept) (admin.Credential, error) {
			return c.RemoveGrant(ctx, ref, "app:billing")
		},
	},
	{
		"delete", func(k kept) bool { return !k.Deleted }, func(k *kept) { k.Deleted = true },
		func(ctx context.Context, c *admin.Client, ref keybearer.Ref, _ kept) (admin.Credential, error) {
			return c.DeleteCredential(ctx, ref, true)
		},
	},
	{
		"restore", func(k kept) bool { return k.Deleted }, func(k *kept) { k.Deleted = false },
		func(ctx context.Context, c *admin.Client, ref keybearer.Ref, _ kept) (admin.Credential, error) {
			return c.RestoreCredential(ctx, ref)
		},
	},
}

// worker changes and uses one credential of its own.
type worker struct {
	w   *world
	api *harness.Recorder
	ref keybearer.Ref

	now     kept   // acknowledged
	maybe   *kept  // of a change whose answer the kill took away
	doing   string // that change
	changes int    // acknowledged
	unknown int    // changes that may have happened without an acknowledgement
	uses    []string
	n       int
}

// run works until the server is gone, and calls done after each thing that was acknowledged.
func (k *worker) run(ctx context.Context, t *testing.T, client *admin.Client, app *http.Client, done func()) {
	for k.step(ctx, t, client, app) {
		done()
	}
}

// step does one thing. It reports false when the server is gone.
func (k *worker) step(ctx context.Context, t *testing.T, client *admin.Client, app *http.Client) bool {
	if k.n++; rand.IntN(2) == 0 {
		return k.use(t, app)
	}
	if k.ref.Name == "c0" && rand.IntN(4) == 0 { // a rotation is begun, or found under way, or cut short: it changes nothing that is seen
		_, err := client.RotateKey(ctx, k.ref.Scope)
		if err != nil && !gone(err) && keybearer.CodeOf(err) != keybearer.Conflict {
			t.Errorf("rotate: %v", err)
		}
		return !gone(err)
	}
	c := changes[rand.IntN(len(changes))]
	for !c.fits(k.now) {
		c = changes[rand.IntN(len(changes))]
	}
	next := k.now
	c.apply(&next)
	_, err := c.call(ctx, client, k.ref, next)
	switch {
	case err == nil:
		k.now = next
		k.changes++
	case gone(err):
		k.maybe, k.doing = &next, c.name
		k.unknown++
	default:
		t.Errorf("%s of %v: %v", c.name, k.ref, err)
	}
	return err == nil
}

func gone(err error) bool { return keybearer.CodeOf(err) == keybearer.ServerUnreachable }

// use sends one request and checks its answer against what is known. It reports false when the server is gone.
func (k *worker) use(t *testing.T, app *http.Client) bool {
	id := fmt.Sprintf("%s-%d", k.ref.Name, k.n)
	code, requestID, ok := k.w.send(t, app, k.ref.String(), id)
	if !ok {
		return false
	}
	if code != k.now.code() {
		t.Errorf("use of %v was answered %q; it is %+v", k.ref, code, k.now)
	}
	if code == "" {
		k.uses = append(k.uses, requestID)
		if got := k.arrived(t, id); got != k.now.Secret {
			t.Errorf("%v was used with %q; it is %+v", k.ref, got, k.now)
		}
	}
	return true
}

func (k *worker) arrived(t *testing.T, id string) string {
	auth := k.api.One(t, id).Values("Authorization")
	if len(auth) != 1 {
		t.Errorf("Authorization %q", auth)
		return ""
	}
	return auth[0][len("Bearer "):]
}

// send sends a request as billing and returns the code of the refusal, "" for a 200 of the destination.
func (w *world) send(t *testing.T, app *http.Client, credential, id string) (keybearer.Code, string, bool) {
	req, err := http.NewRequest("POST", "http://api.example.com/hook", bytes.NewReader([]byte("{}")))
	if err != nil {
		t.Error(err)
		return "", "", false
	}
	req.Header.Set("Keybearer-Credential", credential)
	req.Header.Set("Proxy-Authorization", "Bearer "+w.tokens["billing"])
	req.Header.Set(harness.IDHeader, id)
	resp, err := app.Do(req)
	if err != nil {
		return "", "", false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", "", false
	}
	requestID := resp.Header.Get("Keybearer-Request-Id")
	if resp.StatusCode == 200 {
		return "", requestID, true
	}
	var problem admin.Problem
	if err := json.Unmarshal(body, &problem); err != nil {
		t.Errorf("answer %s %q", resp.Status, body)
	}
	return problem.Code, requestID, true
}

// verify finds out what is there after a restart, and whether that is what it must be.
func (k *worker) verify(t *testing.T, client *admin.Client, app *http.Client) {
	t.Helper()
	c, err := client.Credential(t.Context(), k.ref)
	if err != nil {
		t.Fatalf("%v after a restart: %v", k.ref, err)
	}
	found := kept{
		Disabled: c.State == keybearer.Disabled, Deleted: c.State == keybearer.Deleted, Second: len(c.Destinations) == 2,
		Granted: slices.ContainsFunc(c.Grants, func(g admin.Grant) bool { return g.Subject == "app:billing" }),
	}
	if k.now.Deleted && found.Deleted { // which hides the rest
		found.Disabled = k.now.Disabled
	}
	k.n++
	id := fmt.Sprintf("%s-%d", k.ref.Name, k.n)
	code, _, ok := k.w.send(t, app, k.ref.String(), id)
	switch {
	case !ok:
		t.Fatalf("%v cannot be used after a restart", k.ref)
	case code != found.code():
		t.Errorf("use of %v was answered %q; it was found as %+v", k.ref, code, found)
	case code == "":
		found.Secret = k.arrived(t, id)
	}
	fits := func(want kept) bool {
		if !found.usable() {
			want.Secret = "" // not seen
		}
		if want.Deleted && found.Deleted {
			want.Disabled = found.Disabled
		}
		return want == found
	}
	switch {
	case fits(k.now):
	case k.maybe != nil && fits(*k.maybe):
		k.now = *k.maybe
	default:
		t.Errorf("%v was acknowledged as %+v, and %q may have made it %+v; found %+v", k.ref, k.now, k.doing, k.maybe, found)
	}
	k.maybe = nil
}

// 200 times the server is killed at random among changes and uses. Every acknowledged change is there afterwards, a change without
// acknowledgement is there whole or not at all, and of every acknowledged use the log has the intent, of every change its line.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	const rounds = 200
	w := newWorld(t)
	w.scope("docs")
	w.caller("billing", "docs")
	api := w.recorder("api.example.com", nil)
	w.dns.Set("second.example.com", api.Addr.Addr())
	var workers []*worker
	for i := range 4 {
		name := w.credential(fmt.Sprintf("docs/c%d", i), "bearer", private("api.example.com")...)
		w.grant(name, "billing", "use")
		ref, err := keybearer.ParseRef(name)
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, &worker{w: w, api: api, ref: ref, now: kept{Secret: w.planted[len(w.planted)-1], Granted: true}})
	}
	log := &auditReader{path: filepath.Join(w.Home, "audit.jsonl"), intents: map[string]bool{}, changes: map[string]map[string]bool{}}
	log.read(t)
	before := map[string]int{} // the lines of the set-up
	for _, k := range workers {
		before[k.ref.Name] = len(log.changes[k.ref.Name])
	}

	for round := range rounds {
		client, err := admin.NewClient(admin.ClientConfig{Socket: w.Socket})
		if err != nil {
			t.Fatal(err)
		}
		transport := http.Transport{Proxy: w.proxyURL(), MaxIdleConnsPerHost: len(workers)}
		app := &http.Client{Transport: &transport, Timeout: time.Minute}
		if round > 0 {
			for _, k := range workers {
				k.verify(t, client, app)
			}
		}
		var wg sync.WaitGroup
		// The kill comes right behind one of the acknowledgements, whatever the others are at.
		left, now := atomic.Int64{}, make(chan struct{})
		left.Store(rand.Int64N(50) + 1)
		for _, k := range workers {
			wg.Go(func() {
				k.run(t.Context(), t, client, app, func() {
					if left.Add(-1) == 0 {
						close(now)
					}
				})
			})
		}
		<-now
		w.Kill()
		wg.Wait()
		client.Close()
		transport.CloseIdleConnections()
		w.start()
		log.read(t)
		for _, k := range workers {
			for _, id := range k.uses {
				if !log.intents[id] {
					t.Errorf("round %d: no intent of request %s", round, id)
				}
			}
			k.uses = nil
			lines := len(log.changes[k.ref.Name]) - before[k.ref.Name]
			if lines < k.changes || lines > k.changes+k.unknown {
				t.Errorf("round %d: %d lines for %d changes of %v (%d without acknowledgement)", round, lines, k.changes, k.ref, k.unknown)
			}
		}
		if t.Failed() {
			t.Fatalf("stopped after round %d", round)
		}
	}
	total, unknown := 0, 0
	for _, k := range workers {
		total, unknown = total+k.changes, unknown+k.unknown
	}
	t.Logf("%d kills among %d acknowledged changes, %d without acknowledgement, and %d uses; %d lines came twice", rounds, total, unknown, len(log.intents), log.repeated)
	if total < 5*rounds || unknown < rounds/20 {
		t.Errorf("too little happened between the kills to prove anything")
	}
	w.must("", "doctor")
}

// auditReader reads what was added to an audit log.
type auditReader struct {
	path    string
	offset  int64
	intents map[string]bool            // by request id
	changes map[string]map[string]bool // ids of the changes, by credential

	repeated int
}

func (r *auditReader) read(t *testing.T) {
	t.Helper()
	f, err := os.Open(r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(r.offset, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			return
		}
		r.offset += int64(len(line))
		var e keybearer.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Errorf("audit line %q: %v", line, errors.Unwrap(err))
			continue
		}
		switch {
		case e.Kind == keybearer.UseEvent && e.Phase == keybearer.Intent:
			r.intents[e.ID] = true
		case e.Kind == keybearer.ChangeEvent && e.Credential != "":
			if r.changes[e.Credential] == nil {
				r.changes[e.Credential] = map[string]bool{}
			}
			if r.changes[e.Credential][e.ID] {
				r.repeated++ // written before the kill, and again because the kill came before that was noted
			}
			r.changes[e.Credential][e.ID] = true
		}
	}
}
