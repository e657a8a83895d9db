package keybearertest

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
)

// testEmpty: a new store holds nothing, and says so.
func testEmpty(t *testing.T, s keybearer.Store) {
	if diff := cmp.Diff(content{}, everything(t, s), same); diff != "" {
		t.Errorf("a new store is not empty (-want +got):\n%s", diff)
	}
	live, deleted, err := s.CountCredentials(t.Context(), keybearer.NewID(keybearer.IDScope))
	if live != 0 || deleted != 0 || err != nil {
		t.Errorf("count of a scope that is not there: %d, %d, %v", live, deleted, err)
	}
	missing(t, s, "docs", keybearer.NewID(keybearer.IDScope), keybearer.NewID(keybearer.IDCredential))
}

// missing checks that no look-up finds anything under these names.
func missing(t *testing.T, s keybearer.Store, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := s.Scope(t.Context(), name)
		wantCode(t, "scope "+name, err, keybearer.NotFound)
		_, err = s.Credential(t.Context(), keybearer.Ref{Scope: name, Name: name})
		wantCode(t, "credential "+name, err, keybearer.NotFound)
		_, err = s.Caller(t.Context(), name)
		wantCode(t, "caller "+name, err, keybearer.NotFound)
		_, err = s.CallerByToken(t.Context(), keybearer.HashToken(name))
		wantCode(t, "caller by token "+name, err, keybearer.NotFound)
		_, err = s.Operator(t.Context(), name)
		wantCode(t, "operator "+name, err, keybearer.NotFound)
		_, err = s.OperatorByToken(t.Context(), keybearer.HashToken(name))
		wantCode(t, "operator by token "+name, err, keybearer.NotFound)
	}
}

// filled returns one record of each kind with every field set.
func filled() (*keybearer.Scope, *keybearer.Credential, *keybearer.Caller, *keybearer.Operator) {
	at := func(n int) time.Time { return epoch.Add(time.Duration(n)*time.Hour + 123_456*time.Microsecond) }
	scope := newScope("docs")
	scope.Description = "Papers & <drafts> – «ÄÖ» \u2028 \x01 \\ % _ '\""
	scope.Key = &keybearer.ScopeKey{Name: "keybearer-x", Generation: 7, Version: 3, Share: []byte{0, 1, 254, 255}, CreatedAt: at(1), RotatedAt: at(2)}
	scope.Former = &keybearer.ScopeKey{Name: "keybearer-w", Generation: 6, Version: 9, Share: []byte{2, 255}, CreatedAt: at(30), RotatedAt: at(31)}
	scope.Generation = 7
	scope.Work = &keybearer.ScopeWork{
		Kind: keybearer.WorkRotate, Cursor: "crd_x", Done: 3, Total: 9, KeepShells: true, By: keybearer.UserSubject("ann"), StartedAt: at(3),
	}
	scope.DoomedKeys = []string{"keybearer-w", "keybearer-v"}
	scope.CreatedAt, scope.UpdatedAt, scope.DeletedAt = at(4), at(5), at(6)

	terms := keybearer.Terms{
		Kind: keybearer.Header, Header: "X-Api-Key", Prefix: "Token ", RequireUser: true, WebSocket: true,
		Rules: []keybearer.Rule{
			{Scheme: "https", Host: "**.example.com", Port: 8443, Path: "/hooks/%C3%A4", Methods: []string{"GET", "POST"}, Private: true},
			{Scheme: "http", Host: "2001:db8::1", Port: 80},
		},
	}
	c := newCredential(scope, "crm")
	c.Description = scope.Description
	c.Disabled, c.PassCookies, c.PassTrace, c.ScrubBody = true, true, true, true
	c.Grants = []keybearer.Grant{
		{Subject: "app:billing", Level: keybearer.Use},
		{Subject: "group:staff", Level: keybearer.View},
		{Subject: "user:Ann", Level: keybearer.Edit},
		{Subject: "user:bob", Level: keybearer.Administer},
	}
	c.Current = keybearer.Version{Number: 1 << 40, Generation: 1 << 31, Sealed: []byte("\x00\xffciphertext"), Terms: terms, CreatedAt: at(7), RetiredAt: at(8)}
	previous := c.Current
	previous.Terms, previous.Number = terms.Clone(), c.Current.Number-1
	c.Previous = &previous
	c.CreatedAt, c.UpdatedAt, c.DeletedAt, c.ExpiresAt = at(9), at(10), at(11), at(12)
	c.LastVersion = c.Current.Number
	c.Trial = &keybearer.Trial{ID: keybearer.NewID(keybearer.IDTrial), Rules: terms.Clone().Rules[:1], Since: at(20), By: keybearer.UserSubject("ann")}

	token := func(prefix string) []keybearer.Token {
		a, _ := newToken(prefix)
		b, _ := newToken(prefix)
		a.ExpiresAt = at(13)
		return []keybearer.Token{a, b}
	}
	caller := newCaller("billing")
	caller.Description, caller.Disabled = scope.Description, true
	caller.Scopes = []string{scope.ID, keybearer.NewID(keybearer.IDScope)}
	caller.Limits = keybearer.Limits{Rate: 0.5, Burst: 3, Concurrency: keybearer.Unlimited}
	caller.Tokens = token(keybearer.CallerTokenPrefix)
	caller.CreatedAt, caller.UpdatedAt, caller.DeletedAt = at(14), at(15), at(16)

	operator := newOperator("ann")
	operator.Description, operator.Disabled = scope.Description, true
	operator.Groups = []string{"staff", "admins"}
	operator.Roles = []string{keybearer.RoleInstanceAdmin, keybearer.RoleScopeAdmin + scope.ID}
	operator.Tokens = token(keybearer.OperatorTokenPrefix)
	operator.CreatedAt, operator.UpdatedAt, operator.DeletedAt = at(17), at(18), at(19)
	return scope, c, caller, operator
}

// testRoundTrip: every field of every kind of record comes back as it was given.
func testRoundTrip(t *testing.T, s keybearer.Store) {
	scope, credential, caller, operator := filled()
	for _, r := range []any{
		*scope, *scope.Key, *scope.Work, *credential, credential.Current, credential.Current.Terms, credential.Current.Terms.Rules[0],
		*caller, *operator, caller.Tokens[0], *credential.Trial, caller.Limits,
	} {
		v := reflect.ValueOf(r)
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Name != "Revision" && v.Field(i).IsZero() {
				t.Fatalf("the suite leaves %s.%s empty and could not see it lost", v.Type(), f.Name)
			}
		}
	}
	seq := commit(t, s, puts(scope, credential, caller, operator))
	want := content{
		Scopes: []*keybearer.Scope{scope}, Credentials: []*keybearer.Credential{credential},
		Callers: []*keybearer.Caller{caller}, Operators: []*keybearer.Operator{operator},
	}
	for _, r := range []*uint64{&scope.Revision, &credential.Revision, &caller.Revision, &operator.Revision} {
		*r = seq
	}
	got := everything(t, s)
	got.Sequence, got.Changes = 0, nil
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("listed records differ (-want +got):\n%s", diff)
	}
	for _, look := range []struct{ got, want any }{
		{must(s.Scope(t.Context(), scope.ID))(t), scope},
		{must(s.Credential(t.Context(), keybearer.Ref{Scope: scope.ID, Name: credential.ID}))(t), credential},
		{must(s.Caller(t.Context(), caller.ID))(t), caller},
		{must(s.CallerByToken(t.Context(), caller.Tokens[1].Hash))(t), caller},
		{must(s.Operator(t.Context(), operator.ID))(t), operator},
		{must(s.OperatorByToken(t.Context(), operator.Tokens[0].Hash))(t), operator},
	} {
		if diff := cmp.Diff(look.want, look.got, same); diff != "" {
			t.Errorf("a record read differs (-want +got):\n%s", diff)
		}
	}

	// And what is taken out of a record is gone from the stored one.
	bare := &keybearer.Credential{ID: credential.ID, ScopeID: scope.ID, Name: credential.Name, Revision: seq}
	bare.Revision = commit(t, s, func() keybearer.Batch { bare.Revision = seq; return puts(bare) }())
	if diff := cmp.Diff(bare, must(s.Credential(t.Context(), keybearer.Ref{Scope: scope.Name, Name: bare.Name}))(t), same); diff != "" {
		t.Errorf("an emptied record differs (-want +got):\n%s", diff)
	}
}

// testTimes: times are kept to the microsecond, in UTC; the zero time stays zero.
func testTimes(t *testing.T, s keybearer.Store) {
	local := time.FixedZone("somewhere", 5*3600+1800)
	given := time.Date(2026, 7, 1, 23, 59, 59, 999_999_999, local)
	scope := newScope("docs")
	scope.CreatedAt = given
	scope.Key = &keybearer.ScopeKey{Name: "k", CreatedAt: given, RotatedAt: given}
	scope.Former = scope.Key
	scope.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRotate, StartedAt: given}
	c := newCredential(scope, "crm")
	c.ExpiresAt, c.CreatedAt, c.Current.CreatedAt = given, given, given
	c.Previous = &keybearer.Version{CreatedAt: given, RetiredAt: given}
	caller := newCaller("billing")
	token, _ := newToken(keybearer.CallerTokenPrefix)
	token.CreatedAt, token.ExpiresAt = given, given
	caller.CreatedAt, caller.Tokens = given, []keybearer.Token{token}
	operator := newOperator("ann")
	operator.UpdatedAt = given
	b := puts(scope, c, caller, operator)
	b.Events = []keybearer.Event{{ID: "req_x", Time: given}}
	commit(t, s, b)

	gotScope := must(s.Scope(t.Context(), "docs"))(t)
	got := must(s.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"}))(t)
	gotCaller := must(s.Caller(t.Context(), "billing"))(t)
	for name, at := range map[string]time.Time{
		"Scope.CreatedAt": gotScope.CreatedAt, "ScopeKey.CreatedAt": gotScope.Key.CreatedAt, "ScopeKey.RotatedAt": gotScope.Key.RotatedAt,
		"ScopeWork.StartedAt":  gotScope.Work.StartedAt,
		"Credential.ExpiresAt": got.ExpiresAt, "Credential.CreatedAt": got.CreatedAt, "Version.CreatedAt": got.Current.CreatedAt,
		"Previous.CreatedAt": got.Previous.CreatedAt, "Previous.RetiredAt": got.Previous.RetiredAt,
		"Caller.CreatedAt": gotCaller.CreatedAt, "Token.CreatedAt": gotCaller.Tokens[0].CreatedAt, "Token.ExpiresAt": gotCaller.Tokens[0].ExpiresAt,
		"Operator.UpdatedAt": must(s.Operator(t.Context(), "ann"))(t).UpdatedAt,
		"Event.Time":         must(s.Events(t.Context(), 1))(t)[0].Event.Time,
	} {
		if at.Location() != time.UTC || at.Nanosecond()%1000 != 0 || at.Sub(given).Abs() >= time.Microsecond {
			t.Errorf("%s: gave %v, got %v", name, given, at)
		}
	}
	if !gotScope.DeletedAt.IsZero() || !got.DeletedAt.IsZero() || !got.Current.RetiredAt.IsZero() || !gotCaller.DeletedAt.IsZero() {
		t.Error("a zero time did not stay zero")
	}
	if !c.CreatedAt.Equal(given) || c.CreatedAt.Location() != local || !b.Events[0].Time.Equal(given) || !caller.Tokens[0].CreatedAt.Equal(given) {
		t.Error("the store modified a record that it was given")
	}
}

// testNoAliasing: the store keeps no reference to a record that it was given, and does not modify it.
func testNoAliasing(t *testing.T, s keybearer.Store) {
	scope, credential, caller, operator := filled()
	read := func() []any {
		return []any{
			must(s.Scope(t.Context(), scope.ID))(t).Clone(), must(s.Credential(t.Context(), keybearer.Ref{Scope: scope.ID, Name: credential.ID}))(t).Clone(),
			must(s.Caller(t.Context(), caller.ID))(t).Clone(), must(s.Operator(t.Context(), operator.ID))(t).Clone(),
		}
	}
	given := []any{scope.Clone(), credential.Clone(), caller.Clone(), operator.Clone()}
	commit(t, s, puts(scope, credential, caller, operator))
	if diff := cmp.Diff(given, []any{scope, credential, caller, operator}); diff != "" {
		t.Errorf("commit modified what it was given (-before +after):\n%s", diff)
	}
	before := read()
	scope.Key.Share[0], scope.DoomedKeys[0], scope.Description = 99, "changed", "changed"
	credential.Current.Sealed[0], credential.Grants[0].Level, credential.Previous.Terms.Rules[0].Methods[0] = 99, keybearer.Administer, "changed"
	caller.Tokens[0].ID, caller.Scopes[0] = "changed", "changed"
	operator.Roles[0], operator.Groups[0] = "changed", "changed"
	if diff := cmp.Diff(before, read()); diff != "" {
		t.Errorf("a change to a record outside the store changed it inside (-before +after):\n%s", diff)
	}
}

// testLookUp: by id or name, exactly; a name never falls through to another scope.
func testLookUp(t *testing.T, s keybearer.Store) {
	global, docs := newScope(keybearer.GlobalScope), newScope("docs")
	inGlobal, inDocs, both := newCredential(global, "slack"), newCredential(docs, "crm"), newCredential(docs, "mail")
	other := newCredential(global, "mail")
	billing, ann := newCaller("billing"), newOperator("ann")
	commit(t, s, puts(global, docs, inGlobal, inDocs, both, other, billing, ann))

	for _, look := range []struct {
		ref  keybearer.Ref
		want *keybearer.Credential
	}{
		{keybearer.Ref{Scope: "docs", Name: "crm"}, inDocs},
		{keybearer.Ref{Scope: docs.ID, Name: "crm"}, inDocs},
		{keybearer.Ref{Scope: "docs", Name: inDocs.ID}, inDocs},
		{keybearer.Ref{Scope: docs.ID, Name: inDocs.ID}, inDocs},
		{keybearer.Ref{Scope: "docs", Name: "mail"}, both},
		{keybearer.Ref{Scope: "global", Name: "mail"}, other},
		{keybearer.Ref{Scope: "docs", Name: "slack"}, nil},
		{keybearer.Ref{Scope: "docs", Name: inGlobal.ID}, nil},
		{keybearer.Ref{Scope: docs.ID, Name: inGlobal.ID}, nil},
		{keybearer.Ref{Scope: "global", Name: inDocs.ID}, nil},
		{keybearer.Ref{Scope: "", Name: "crm"}, nil},
		{keybearer.Ref{Scope: "docs", Name: ""}, nil},
		{keybearer.Ref{Scope: "", Name: inDocs.ID}, nil},
		{keybearer.Ref{Scope: "DOCS", Name: "crm"}, nil},
		{keybearer.Ref{Scope: "docs", Name: "CRM"}, nil},
		{keybearer.Ref{Scope: "docs", Name: "cr"}, nil},
		{keybearer.Ref{Scope: "docs", Name: "crm "}, nil},
		{keybearer.Ref{Scope: "docs", Name: "%"}, nil},
		{keybearer.Ref{Scope: "doc%", Name: "crm"}, nil},
		{keybearer.Ref{Scope: docs.ID, Name: "' OR ''='"}, nil},
	} {
		got, err := s.Credential(t.Context(), look.ref)
		switch {
		case look.want == nil:
			wantCode(t, "credential "+look.ref.String(), err, keybearer.NotFound)
		case err != nil:
			t.Errorf("credential %s: %v", look.ref, err)
		case got.ID != look.want.ID:
			t.Errorf("credential %s: got %s, want %s", look.ref, got.ID, look.want.ID)
		}
	}
	for _, name := range []string{"docs", docs.ID} {
		if got := must(s.Scope(t.Context(), name))(t); got.ID != docs.ID {
			t.Errorf("scope %s: got %s", name, got.ID)
		}
	}
	for _, name := range []string{"billing", billing.ID} {
		if got := must(s.Caller(t.Context(), name))(t); got.ID != billing.ID {
			t.Errorf("caller %s: got %s", name, got.ID)
		}
	}
	for _, name := range []string{"ann", ann.ID} {
		if got := must(s.Operator(t.Context(), name))(t); got.ID != ann.ID {
			t.Errorf("operator %s: got %s", name, got.ID)
		}
	}
	missing(t, s, "", "Docs", "bill", "Ann", "crm", inDocs.ID)
}

// testTokens: a token finds the one record that has it, now.
func testTokens(t *testing.T, s keybearer.Store) {
	first, firstHash := newToken(keybearer.CallerTokenPrefix)
	second, secondHash := newToken(keybearer.CallerTokenPrefix)
	third, thirdHash := newToken(keybearer.OperatorTokenPrefix)
	billing, mail, ann := newCaller("billing"), newCaller("mail"), newOperator("ann")
	billing.Tokens = []keybearer.Token{first, second}
	ann.Tokens = []keybearer.Token{third}
	billing.Revision = commit(t, s, puts(billing, ann))
	for _, hash := range []keybearer.TokenHash{firstHash, secondHash} {
		if got := must(s.CallerByToken(t.Context(), hash))(t); got.ID != billing.ID {
			t.Errorf("caller by token: got %s", got.ID)
		}
		_, err := s.OperatorByToken(t.Context(), hash)
		wantCode(t, "a caller's token presented as an operator's", err, keybearer.NotFound)
	}
	if got := must(s.OperatorByToken(t.Context(), thirdHash))(t); got.ID != ann.ID {
		t.Errorf("operator by token: got %s", got.ID)
	}
	_, err := s.CallerByToken(t.Context(), thirdHash)
	wantCode(t, "an operator's token presented as a caller's", err, keybearer.NotFound)

	// No two records have one token, whatever their kinds.
	mail.Tokens = []keybearer.Token{first}
	refuses(t, s, puts(mail), keybearer.AlreadyExists)
	mail.Tokens = []keybearer.Token{third}
	refuses(t, s, puts(mail), keybearer.AlreadyExists)
	mail.Tokens = nil
	mail.Revision = commit(t, s, puts(mail))
	mail.Tokens = []keybearer.Token{second}
	refuses(t, s, puts(mail), keybearer.AlreadyExists)

	// A token that was taken out of its record finds nothing, and may be given to another.
	billing.Tokens = []keybearer.Token{first}
	billing.Revision = commit(t, s, puts(billing))
	_, err = s.CallerByToken(t.Context(), secondHash)
	wantCode(t, "a token that was revoked", err, keybearer.NotFound)
	mail.Revision = commit(t, s, puts(mail))
	if got := must(s.CallerByToken(t.Context(), secondHash))(t); got.ID != mail.ID {
		t.Errorf("caller by token: got %s", got.ID)
	}
	// Deleted for good, a record's tokens go with it.
	commit(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(mail)}})
	_, err = s.CallerByToken(t.Context(), secondHash)
	wantCode(t, "the token of a caller that is gone", err, keybearer.NotFound)
	if got := must(s.CallerByToken(t.Context(), firstHash))(t); got.ID != billing.ID {
		t.Errorf("caller by token: got %s", got.ID)
	}
}
