package custody_test

import (
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func TestSecretsThatAreRefused(t *testing.T) {
	l := newLab(t)
	l.scope("docs")
	for name, tc := range map[string]struct {
		kind             keybearer.Kind
		user, value      string
		header, prefix   string
		blanks           bool
		want             keybearer.Code
		alsoWithTheBlank bool // allowed once it is said that blanks are meant
	}{
		"good bearer":                     {kind: keybearer.Bearer, value: "s3cret"},
		"good basic":                      {kind: keybearer.Basic, user: "ada", value: "pässword €"},
		"basic without password":          {kind: keybearer.Basic, user: "sk_live"},
		"basic without username":          {kind: keybearer.Basic, value: "token"},
		"good header":                     {kind: keybearer.Header, header: "x-api-key", value: "k"},
		"header with prefix":              {kind: keybearer.Header, header: "Authorization", prefix: "Token ", value: "k"},
		"authorization without prefix":    {kind: keybearer.Header, header: "Authorization", value: "lin_api"},
		"blank inside":                    {kind: keybearer.Header, header: "X-Key", value: "a b"},
		"mask inside a password":          {kind: keybearer.Basic, user: "ada", value: "**x**"},
		"colon in a password":             {kind: keybearer.Basic, user: "ada", value: "a:b"},
		"empty":                           {kind: keybearer.Bearer, want: keybearer.SecretInvalid},
		"empty basic":                     {kind: keybearer.Basic, want: keybearer.SecretInvalid},
		"username on a bearer":            {kind: keybearer.Bearer, user: "ada", value: "x", want: keybearer.SecretInvalid},
		"line feed at the end":            {kind: keybearer.Bearer, value: "s3cret\n", want: keybearer.SecretInvalid},
		"CR LF inside":                    {kind: keybearer.Header, header: "X-Key", value: "a\r\nHost: b", want: keybearer.SecretInvalid},
		"NUL":                             {kind: keybearer.Basic, user: "ada", value: "a\x00b", want: keybearer.SecretInvalid},
		"tab":                             {kind: keybearer.Bearer, value: "a\tb", want: keybearer.SecretInvalid},
		"DEL":                             {kind: keybearer.Bearer, value: "a\x7fb", want: keybearer.SecretInvalid},
		"C1 control":                      {kind: keybearer.Basic, value: "a\u0085b", want: keybearer.SecretInvalid},
		"not UTF-8":                       {kind: keybearer.Basic, value: "a\xff", want: keybearer.SecretInvalid},
		"line feed in a username":         {kind: keybearer.Basic, user: "a\nb", value: "x", want: keybearer.SecretInvalid},
		"colon in a username":             {kind: keybearer.Basic, user: "a:b", value: "x", want: keybearer.SecretInvalid},
		"curly quotes":                    {kind: keybearer.Bearer, value: "“s3cret”", want: keybearer.SecretInvalid},
		"zero width space":                {kind: keybearer.Header, header: "X-Key", value: "s3\u200bcret", want: keybearer.SecretInvalid},
		"stars":                           {kind: keybearer.Bearer, value: "****", want: keybearer.SecretInvalid},
		"bullets":                         {kind: keybearer.Basic, user: "ada", value: "••••••••", want: keybearer.SecretInvalid},
		"our own placeholder":             {kind: keybearer.Bearer, value: "[secret]", want: keybearer.SecretInvalid},
		"Bearer prefix":                   {kind: keybearer.Bearer, value: "Bearer s3cret", want: keybearer.SecretInvalid},
		"bearer prefix in lower case":     {kind: keybearer.Bearer, value: "bearer s3cret", want: keybearer.SecretInvalid},
		"the header's own prefix":         {kind: keybearer.Header, header: "Authorization", prefix: "Token ", value: "token k", want: keybearer.SecretInvalid},
		"trailing blank":                  {kind: keybearer.Bearer, value: "s3cret ", want: keybearer.SecretInvalid},
		"trailing blank meant":            {kind: keybearer.Bearer, value: "s3cret ", blanks: true, want: keybearer.SecretInvalid}, // HTTP would drop it
		"leading blank":                   {kind: keybearer.Bearer, value: " s3cret", want: keybearer.SecretInvalid, alsoWithTheBlank: true},
		"leading blank of a whole header": {kind: keybearer.Header, header: "X-Key", value: " k", blanks: true, want: keybearer.SecretInvalid},
		"leading blank behind a prefix":   {kind: keybearer.Header, header: "X-Key", prefix: "v1", value: " k", want: keybearer.SecretInvalid, alsoWithTheBlank: true},
		"blank before a password":         {kind: keybearer.Basic, user: "ada", value: " x", want: keybearer.SecretInvalid, alsoWithTheBlank: true},
		"blank behind a username":         {kind: keybearer.Basic, user: "ada ", value: "x", want: keybearer.SecretInvalid, alsoWithTheBlank: true},
		"no-break space":                  {kind: keybearer.Basic, value: "x\u00a0", want: keybearer.SecretInvalid, alsoWithTheBlank: true},
		"too large":                       {kind: keybearer.Bearer, value: strings.Repeat("x", keybearer.MaxBundle), want: keybearer.SecretInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			n := custody.NewCredential{
				Name: strings.ReplaceAll(strings.ToLower(name), " ", "-"), Kind: tc.kind, Header: tc.header, Prefix: tc.prefix,
				Secret: custody.Secret{Username: keybearer.NewSecret(tc.user), Value: keybearer.NewSecret(tc.value), KeepBlanks: tc.blanks},
			}
			n.Name = strings.ReplaceAll(n.Name, "'", "")
			_, err := l.CreateCredential(t.Context(), by(root), "docs", n)
			wantCode(t, err, tc.want)
			if e := keybearer.AsError(err); e != nil && len(tc.value) > 2 && strings.Contains(e.Error()+e.Advice(), strings.TrimSpace(tc.value)) {
				t.Fatalf("the error repeats the secret: %v", e)
			}
			if tc.alsoWithTheBlank {
				n.Secret.KeepBlanks = true
				if _, err = l.CreateCredential(t.Context(), by(root), "docs", n); err != nil {
					t.Fatal(err)
				}
			}
			if tc.want == "" || tc.alsoWithTheBlank { // what is sealed is what was given, byte for byte
				c := l.record(ref("docs", n.Name))
				b, err := l.opened(l.scopeRecord("docs"), c.ID, &c.Current)
				if err != nil || b.Username != tc.user || b.Secret.Reveal() != tc.value || b.Terms.Kind != tc.kind {
					t.Fatalf("%+v, %v", b, err)
				}
			}
		})
	}
}

func TestHeadersThatAreRefused(t *testing.T) {
	l := newLab(t)
	l.scope("docs")
	n := bearer("a", "k")
	n.Kind = keybearer.Header
	for _, bad := range []string{
		"", "X Key", "X:Key", "X-Key\r\nHost", "Schlüssel", "Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive",
		"TE", "Trailer", "Upgrade", "Expect", "Proxy-Authorization", "Proxy-Connection", "Keybearer-Credential", "keybearer_credential",
		"Cookie", "Set-Cookie", "Forwarded", "X-Forwarded-For", "x_forwarded_for", "Via", "Origin", "Sec-Fetch-Site", "Content-Type",
		"X-HTTP-Method-Override", "X-Original-URL", strings.Repeat("x", 129),
	} {
		n.Header = bad
		_, err := l.CreateCredential(t.Context(), by(root), "docs", n)
		wantCode(t, err, keybearer.Invalid)
	}
	n.Header = "X-Key"
	for _, bad := range []string{" Token ", "Tok\nen", "Tökén", strings.Repeat("x", 65)} {
		n.Prefix = bad
		_, err := l.CreateCredential(t.Context(), by(root), "docs", n)
		wantCode(t, err, keybearer.Invalid)
	}
	n.Prefix, n.Header = "", "x-API-key"
	c, err := l.CreateCredential(t.Context(), by(root), "docs", n)
	if err != nil || c.Terms.Header != "X-Api-Key" {
		t.Fatalf("%+v, %v", c.Terms, err)
	}
	n = bearer("b", "k")
	n.Header = "X-Key"
	_, err = l.CreateCredential(t.Context(), by(root), "docs", n)
	wantCode(t, err, keybearer.Invalid)
	n = bearer("b", "k")
	n.Kind = "query"
	_, err = l.CreateCredential(t.Context(), by(root), "docs", n)
	wantCode(t, err, keybearer.Invalid)
}

func TestNames(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	for _, bad := range []string{"", "A", ".a", "-a", "_a", "a/b", "a b", "crd_x", strings.Repeat("a", 64)} {
		_, err := l.CreateCredential(ctx, by(root), "docs", bearer(bad, "s3cret"))
		wantCode(t, err, keybearer.Invalid)
	}
	for _, bad := range []string{"", "A", "cal_x", "app:a"} {
		_, _, err := l.CreateCaller(ctx, by(root), custody.NewCaller{Name: bad})
		wantCode(t, err, keybearer.Invalid)
	}
	for _, bad := range []string{"", "A", "opr_x", "uid-0", "uid-1000"} { // the last are the admin socket's
		_, _, err := l.CreateOperator(ctx, by(root), custody.NewOperator{Name: bad})
		wantCode(t, err, keybearer.Invalid)
	}
	_, err := l.CreateScope(ctx, by(root), "words", strings.Repeat("x", 1001))
	wantCode(t, err, keybearer.Invalid)
	_, err = l.CreateScope(ctx, by(root), "words", "a\x1b[31m")
	wantCode(t, err, keybearer.Invalid)
}
