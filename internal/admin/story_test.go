package admin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/handover"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// operationByID finds a row of the table.
func operationByID(t *testing.T, id string) *admin.Operation {
	t.Helper()
	i := slices.IndexFunc(admin.Operations, func(op admin.Operation) bool { return op.ID == id })
	if i < 0 {
		t.Fatalf("there is no operation %s", id)
	}
	return &admin.Operations[i]
}

// whereOf fills the parameters of an operation's path with what the labs have: docs/crm, app, ada and a token.
func whereOf(op *admin.Operation) string {
	name := "crm"
	switch {
	case strings.Contains(op.Path, "/callers"):
		name = "app"
	case strings.Contains(op.Path, "/operators"):
		name = "ada"
	}
	return strings.NewReplacer("{scope}", "docs", "{name}", name, "{token}", "tok_x").Replace(op.Path)
}

// step is one request of the story: to an operation, with what is filled in, and the status of its answer.
type step struct {
	id    string
	path  string // "": where the operation is by whereOf
	query string
	body  string
	want  int
	match string // "": *, where one is needed
}

// story calls every operation in an order in which each succeeds, and meets refusals that only a certain state gives.
var story = []step{
	{id: "createScope", body: `{"name":"docs","description":"what we publish"}`, want: 201},
	{id: "createScope", body: `{"name":"docs"}`, want: 409},
	{id: "createScope", body: `{"name":"Bad Name"}`, want: 400},
	{id: "createCredential", body: `{"name":"crm","kind":"bearer","secret":"s3cret"}`, want: 409},
	{id: "rotateKey", want: 409},
	{id: "generateKey", want: 200},
	{id: "generateKey", want: 409},
	{id: "rotateKey", want: 200},
	{id: "moveKey", want: 409},
	{id: "editScope", body: `{"description":"docs"}`, want: 200},
	{id: "editScope", body: `{"description":"docs"}`, match: `"1"`, want: 412},
	{id: "showScope", want: 200},
	{id: "listScopes", query: "q=docs&limit=1&deleted=true", want: 200},
	{id: "createCredential", body: `{"name":"crm","kind":"bearer","secret":"s3cret","description":"d","destinations":[{"rule":"api.example.com"}],"expires_at":"2099-01-01T00:00:00Z"}`, want: 201},
	{id: "createCredential", body: `{"name":"basic","kind":"basic","username":"u","secret":"s3cret","require_user":true,"scrub_body":true,"pass_trace":true}`, want: 201},
	{id: "createCredential", body: `{"name":"own","kind":"header","header":"X-Key","prefix":"Token ","no_secret":true}`, want: 201},
	{id: "createCredential", body: `{"name":"bad","kind":"bearer","secret":"Bearer x"}`, want: 400},
	{id: "createCredential", body: `{"name":"bad","kind":"bearer","secret":"x","destinations":[{"rule":"*.com"}]}`, want: 400},
	{id: "listCredentials", query: "kind=bearer&q=crm&limit=10", want: 200},
	{id: "listCredentials", path: "/api/v1/scopes/-/credentials", want: 200},
	{id: "showCredential", want: 200},
	{id: "showCredential", path: "/api/v1/scopes/docs/credentials/nothing", want: 404},
	{id: "editCredential", body: `{"description":"the CRM","expires_at":null}`, want: 200},
	{id: "editCredential", body: `{"websocket":true}`, want: 409},
	{id: "rollbackCredential", want: 409},
	{id: "setSecret", body: `{"secret":"n3w"}`, want: 200},
	{id: "setSecret", body: `{"secret":"****"}`, want: 400},
	{id: "showCredential", want: 200},
	{id: "rollbackCredential", want: 200},
	{id: "setGrant", body: `{"subject":"user:eve","level":"view"}`, want: 200},
	{id: "listGrants", want: 200},
	{id: "listCredentials", query: "subject=user:eve", want: 200},
	{id: "removeGrant", query: "subject=user:eve", want: 200},
	{id: "removeGrant", query: "subject=user:eve", want: 404},
	{id: "addDestinations", body: `{"destinations":[{"rule":"b.example.com"}]}`, want: 409},
	{id: "addDestinations", body: `{"destinations":[{"rule":"b.example.com","methods":["POST"]}],"secret":"s3cret"}`, want: 200},
	{id: "replaceDestinations", body: `{"destinations":[{"rule":"https://b.example.com","methods":["POST"]},{"rule":"10.0.0.1:8443/x","private":true},{"rule":"http://c.example.com"}],"secret":"s3cret"}`, want: 200},
	{id: "listDestinations", want: 200},
	{id: "removeDestination", query: "rule=http://c.example.com", want: 200},
	{id: "showTrial", want: 200},
	{id: "enforceTrial", want: 409},
	{id: "tryDestinations", body: `{"destinations":[{"rule":"b.example.com/v1","methods":["POST"]}]}`, want: 200},
	{id: "showTrial", want: 200},
	{id: "discardTrial", want: 200},
	{id: "tryDestinations", body: `{"destinations":[{"rule":"b.example.com/v1","methods":["POST"]}]}`, want: 200},
	{id: "enforceTrial", want: 200},
	{id: "createCaller", body: `{"name":"app","scopes":["docs"],"limits":{"rate":2.5,"concurrency":-1},"token_expires_at":"2099-01-01T00:00:00Z"}`, want: 201},
	{id: "createCaller", body: `{"name":"app"}`, want: 409},
	{id: "createCaller", body: `{"name":"other","no_token":true}`, want: 201},
	{id: "listCallers", query: "limit=1", want: 200},
	{id: "showCaller", want: 200},
	{id: "editCaller", body: `{"description":"an app","limits":{"burst":5,"rate":1}}`, want: 200},
	{id: "unbindCaller", want: 200},
	{id: "bindCaller", want: 200},
	{id: "issueCallerToken", body: `{"overlap_seconds":60}`, want: 201},
	{id: "issueCallerToken", body: `{"overlap_seconds":-1}`, want: 400},
	{id: "revokeCallerToken", want: 404},
	{id: "revokeCallerToken", path: "/api/v1/callers/app/tokens/", want: 200}, // followed by the id of a token, see below
	{id: "revokeCallerTokens", want: 200},
	{id: "disableCaller", want: 200},
	{id: "enableCaller", want: 200},
	{id: "setGrant", body: `{"subject":"app:app","level":"use"}`, want: 200},
	{id: "check", body: `{"credential":"docs/crm","caller":"app","method":"POST","url":"http://b.example.com/v1/x"}`, want: 200},
	{id: "check", body: `{"credential":"docs/crm","caller":"app","method":"GET","url":"https://evil.example.com/"}`, want: 200},
	{id: "check", body: `{"credential":"docs/crm","caller":"app","method":"GET","url":"nonsense"}`, want: 400},
	{id: "testCredential", body: `{"caller":"app","method":"GET","url":"https://b.example.com/v1/x"}`, want: 200},
	{id: "testCredential", body: `{"caller":"app","method":"GET","url":"https://evil.example.com/"}`, want: 200},
	{id: "testCredential", body: `{"caller":"app","method":"DELETE","url":"https://b.example.com/v1/x"}`, want: 400},
	{id: "testCredential", body: `{"caller":"app","method":"GET","url":"nonsense"}`, want: 400},
	{id: "makeSetUpLink", want: 201},
	{id: "createOperator", body: `{"name":"ada","groups":["sales"],"roles":["scope-admin:docs"]}`, want: 201},
	{id: "makeSetUpLink", want: 409},
	{id: "listOperators", want: 200},
	{id: "showOperator", want: 200},
	{id: "editOperator", body: `{"groups":[],"roles":["instance-admin"]}`, want: 200},
	{id: "issueOperatorToken", body: `{"expires_at":"2099-01-01T00:00:00Z"}`, want: 201},
	{id: "revokeOperatorToken", path: "/api/v1/operators/ada/tokens/", want: 200},
	{id: "revokeOperatorTokens", want: 200},
	{id: "disableOperator", want: 200},
	{id: "enableOperator", want: 200},
	{id: "deleteOperator", want: 200},
	{id: "deleteOperator", want: 404},
	{id: "disableCredential", want: 200},
	{id: "showUsage", want: 200},
	{id: "showUsage", query: "credential=docs/crm&since=2020-01-01T00:00:00Z", want: 200},
	{id: "showActivity", query: "since=2020-01-01T00:00:00Z", want: 200},
	{id: "showActivity", query: "scope=docs", want: 200},
	{id: "showActivity", query: "scope=nothing", want: 404},
	{id: "showAttention", want: 200},
	{id: "enableCredential", want: 200},
	{id: "deleteCredential", want: 409},
	{id: "deleteCredential", query: "force=true", want: 200},
	{id: "disableCredential", want: 410},
	{id: "restoreCredential", want: 200},
	{id: "deleteCaller", want: 200},
	{id: "deleteScope", body: `{"confirm":"docs","expected_credentials":3}`, want: 409},
	{id: "regenerateKey", body: `{"dry_run":true}`, want: 200},
	{id: "regenerateKey", body: `{}`, want: 400},
	{id: "regenerateKey", body: `{"confirm":"docs","expected_credentials":7}`, want: 409},
	{id: "regenerateKey", body: `{"confirm":"docs","expected_credentials":3}`, want: 200},
	{id: "deleteScope", body: `{"confirm":"docs"}`, want: 200},
	{id: "whoami", want: 200},
	{id: "showStatus", want: 200},
	{id: "showKeyMigration", want: 200},
	{id: "showStoreMigration", want: 200},
	{id: "moveStore", want: 409},
	{id: "readAudit", query: "limit=1000", want: 200},
	{id: "readAudit", query: "q=crm&event=change&decision=allow&since=2020-01-01T00:00:00Z&until=2099-01-01T00:00:00Z&before=2098-01-01T00:00:00Z", want: 200},
	{id: "readAudit", query: "code=nonsense", want: 400},
	{id: "describe", want: 200},
}

// send sends a step to a handler, and judges what is sent and answered.
func (c *contract) send(h http.Handler, op *admin.Operation, s step, more ...string) []byte {
	c.t.Helper()
	target := s.path
	if target == "" {
		target = whereOf(op)
	}
	if s.query != "" {
		target += "?" + s.query
	}
	var reader io.Reader
	if s.body != "" {
		reader = strings.NewReader(s.body)
	}
	r := httptest.NewRequest(op.Method, target, reader)
	if s.body != "" {
		r.Header.Set("Content-Type", jsonType)
	}
	if op.Match != 0 && s.match != "none" {
		r.Header.Set("If-Match", "*")
		if s.match != "" {
			r.Header.Set("If-Match", s.match)
		}
	}
	for i := 0; i < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	if s.want < 400 {
		c.request(op, r, []byte(s.body))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	body := c.response(op, res)
	if res.StatusCode != s.want {
		c.t.Errorf("%s %s %s: %d, want %d: %.500s", op.ID, target, s.body, res.StatusCode, s.want, body)
	}
	return body
}

// Every operation is called, with success and with a refusal, and what is sent and answered is as the description says.
func TestEveryOperationKeepsItsContract(t *testing.T) {
	l := newLab(t)
	c := newContract(t)
	var tokens []admin.Token
	for _, s := range story {
		op := operationByID(t, s.id)
		if strings.HasSuffix(s.path, "/") {
			s.path += tokens[0].ID
		}
		switch s.id {
		case "deleteCredential":
			if s.want == 409 { // it was used just now
				cred, err := l.Credential(t.Context(), crm)
				if err != nil {
					t.Fatal(err)
				}
				uses := []keybearer.UseRecord{
					{CredentialID: cred.ID, Scope: "docs", Caller: "app", Host: "h:443", Status: 200, At: time.Now()},
					{CredentialID: cred.ID, Scope: "docs", Caller: "app", Host: "h:443", Code: keybearer.MethodNotAllowed, Refused: true, At: time.Now()},
				}
				if err := l.store.RecordUses(t.Context(), uses, keybearer.Checkpoint{}); err != nil {
					t.Fatal(err)
				}
				c.send(l.peers, operationByID(t, "showActivity"), step{query: "credentials=" + cred.ID, want: 200})
				c.send(l.peers, operationByID(t, "showUsage"), step{query: "credential=docs/crm", want: 200})
				c.send(l.peers, operationByID(t, "listCredentials"), step{want: 200})
			}
		case "readAudit":
			for _, form := range []string{"text/event-stream", "text/csv"} {
				if s.want < 400 {
					c.send(l.peers, op, s, "Accept", form)
				}
			}
		case "describe":
			c.send(l.peers, op, step{want: 304}, "If-None-Match", etagOf(l, op))
		}
		body := c.send(l.peers, op, s)
		if strings.HasPrefix(s.id, "issue") && s.want == 201 {
			var issued struct {
				Caller, Operator struct{ Tokens []admin.Token }
			}
			if err := json.Unmarshal(body, &issued); err != nil {
				t.Fatal(err)
			}
			tokens = append(issued.Caller.Tokens, issued.Operator.Tokens...)
		}
	}
	movingHouse(t, c)
	// Nobody, and somebody who may nothing.
	nobody, err := l.CreateOperator(t.Context(), admin.NewOperator{Name: "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	free := []string{"listCredentials", "whoami", "showActivity", "showAttention", "describe"} // to whoever proves anything
	for i := range admin.Operations {
		op := &admin.Operations[i]
		var body string
		if typ := op.Body(); typ != nil {
			body = goodBody(t, typ)
		}
		if !op.Open {
			c.send(l.tokens, op, step{body: body, want: 401})
		}
		c.send(l.tokens, op, step{body: body, query: "nonsense=1", want: 400}, "Authorization", "Bearer "+nobody.Token.Reveal())
		if slices.Contains(free, op.ID) {
			continue
		}
		r := httptest.NewRequest(op.Method, whereOf(op), strings.NewReader(body))
		r.Header.Set("Content-Type", jsonType)
		r.Header.Set("If-Match", "*")
		r.Header.Set("Authorization", "Bearer "+nobody.Token.Reveal())
		w := httptest.NewRecorder()
		l.tokens.ServeHTTP(w, r)
		c.response(op, w.Result())
		if w.Code != 403 && w.Code != 404 {
			t.Errorf("%s lets somebody without a role: %d", op.ID, w.Code)
		}
	}
	for i := range admin.Operations {
		op := &admin.Operations[i]
		seen := c.judged[op.ID]
		success, refusal := false, false
		for status := range seen {
			success, refusal = success || status < 400, refusal || status >= 400
		}
		if !success || !refusal {
			t.Errorf("%s was not exercised: success %v, refusal %v", op.ID, success, refusal)
		}
	}
}

// movingHouse calls the operations that need a former store and a former keyring.
func movingHouse(t *testing.T, c *contract) {
	t.Helper()
	l := newLab(t)
	l.docs()
	if err := l.custody.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	current, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(dir, "current", "kb.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = current.Close() })
	store, err := handover.OpenStore(t.Context(), handover.Config{Current: current, Former: l.store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	keyring := handover.NewKeyring(handover.Part{Keyring: openKeyring(t, filepath.Join(dir, "current.key")), Kind: "local"}, handover.Part{Keyring: l.keyring, Kind: "local"})
	moving, err := custody.New(custody.Config{Store: store, Keyring: keyring, Auditor: l.log, Ledger: store, Current: keyring.Current, Mover: mover{store}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = moving.Close() })
	h := admin.New(admin.Config{Custody: moving, Audit: trail{l.log}, Authenticate: admin.Peers(func(*http.Request) *keybearer.PeerCredentials { return l.peer })})
	for _, s := range []step{
		{id: "showStoreMigration", want: 200},
		{id: "moveStore", want: 200},
		{id: "showStoreMigration", want: 200},
		{id: "showKeyMigration", want: 200},
		{id: "moveKey", want: 200},
		{id: "showKeyMigration", want: 200},
	} {
		c.send(h, operationByID(t, s.id), s)
	}
}

// mover lets custody move the records.
type mover struct{ *handover.Store }

func (m mover) Progress() (phase custody.Phase, done, total int, err error) {
	p, done, total, err := m.Store.Progress()
	return custody.Phase(p), done, total, err
}

func etagOf(l *lab, op *admin.Operation) string {
	return do(l.peers, op.Method, whereOf(op), "").Header.Get("ETag")
}

// goodBodies are bodies that the operations take in the labs, by type.
var goodBodies = map[reflect.Type]string{
	reflect.TypeFor[admin.NewScope]():          `{"name":"x"}`,
	reflect.TypeFor[admin.ScopePatch]():        `{"description":"x"}`,
	reflect.TypeFor[admin.Confirmation]():      `{"confirm":"docs","expected_credentials":0}`,
	reflect.TypeFor[admin.Regenerate]():        `{"confirm":"docs","expected_credentials":0}`,
	reflect.TypeFor[admin.NewCredential]():     `{"name":"x","kind":"bearer","secret":"x"}`,
	reflect.TypeFor[admin.CredentialPatch]():   `{"description":"x"}`,
	reflect.TypeFor[admin.SecretInput]():       `{"secret":"x"}`,
	reflect.TypeFor[admin.Grant]():             `{"subject":"user:ada","level":"use"}`,
	reflect.TypeFor[admin.DestinationChange](): `{"destinations":[{"rule":"a.example.com"}]}`,
	reflect.TypeFor[admin.TrialRules]():        `{"destinations":[{"rule":"api.example.com/v1"}]}`,
	reflect.TypeFor[admin.NewCaller]():         `{"name":"x"}`,
	reflect.TypeFor[admin.CallerPatch]():       `{"description":"x"}`,
	reflect.TypeFor[admin.NewToken]():          `{}`,
	reflect.TypeFor[admin.NewOperator]():       `{"name":"x"}`,
	reflect.TypeFor[admin.OperatorPatch]():     `{"description":"x"}`,
	reflect.TypeFor[admin.TestRequest]():       `{"caller":"app","method":"GET","url":"https://api.example.com/"}`,
	reflect.TypeFor[admin.CheckRequest]():      `{"credential":"docs/crm","method":"GET","url":"https://api.example.com/","caller":"app"}`,
}

func goodBody(t *testing.T, typ reflect.Type) string {
	t.Helper()
	body, ok := goodBodies[typ]
	if !ok {
		t.Fatalf("there is no good body of type %v", typ)
	}
	return body
}
