package keybearer_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keybearer/keybearer"
)

const canary = "canary-7f3a9c-secret"

// Everything that Go offers to print or encode a value is tried on a Secret, alone and inside the types that hold one.
func TestASecretDoesNotLeaveByFormatting(t *testing.T) {
	secret := keybearer.NewSecret(canary)
	bundle := keybearer.Bundle{Username: "u", Secret: secret}
	var out bytes.Buffer
	for _, v := range []any{secret, &secret, bundle, &bundle, []keybearer.Secret{secret}, map[string]keybearer.Secret{"k": secret}, struct{ s keybearer.Secret }{secret}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%U", "%e", "%p", "%10s", "%-20v", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		b, _ := json.Marshal(v)
		out.Write(b)
		b, _ = xml.Marshal(v)
		out.Write(b)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zap.DebugLevel)
		zap.New(core).Info("m", zap.Any("any", v), zap.Reflect("reflect", v))
		zap.New(core).Sugar().Infof("%v", v)
		fmt.Fprintln(&out, fmt.Errorf("wrapped %v", v))
	}
	got := out.String()
	for _, form := range []string{
		canary, base64.StdEncoding.EncodeToString([]byte(canary)), hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary))),
		fmt.Sprint([]byte(canary)),
	} {
		if i := strings.Index(got, form); i >= 0 {
			t.Fatalf("a secret was printed: …%s", got[max(0, i-80):i])
		}
	}
	if secret.Reveal() != canary || secret.IsZero() || !(keybearer.Secret{}).IsZero() {
		t.Error("Reveal or IsZero")
	}
}

func TestBundlesComeBackAsTheyWentIn(t *testing.T) {
	in := keybearer.Bundle{
		Terms: keybearer.Terms{
			Kind: keybearer.Header, Header: "X-Api-Key", Prefix: "Token ", RequireUser: true, WebSocket: true,
			Rules: []keybearer.Rule{{Scheme: "https", Host: "api.example.com", Port: 443, Path: "/v1", Methods: []string{"GET"}, Private: true}},
		},
		Username: "u", Secret: keybearer.NewSecret("pä\"ss\x7f"),
	}
	p, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	out, err := keybearer.DecodeBundle(p)
	if err != nil {
		t.Fatal(err)
	}
	clear(p)
	if out.Secret.Reveal() != "pä\"ss\x7f" || out.Username != "u" || fmt.Sprint(out.Terms) != fmt.Sprint(in.Terms) {
		t.Errorf("%v", out)
	}
	for _, bad := range []string{"", "{}", `{"v":2}`, "[]", `{"v":1,"secret":"` + canary} {
		if _, err := keybearer.DecodeBundle([]byte(bad)); keybearer.CodeOf(err) != keybearer.KeyringUnavailable || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	big := keybearer.Bundle{Secret: keybearer.NewSecret(strings.Repeat("x", keybearer.MaxBundle))}
	if _, err := big.Encode(); keybearer.CodeOf(err) != keybearer.SecretInvalid {
		t.Errorf("%v", err)
	}
}

func TestTheSealContextDependsOnEveryField(t *testing.T) {
	share, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	seen := map[keybearer.SealContext]string{}
	for name, f := range map[string]func() (keybearer.SealContext, error){
		"base":       func() (keybearer.SealContext, error) { return keybearer.NewSealContext("scp_a", 1, "crd_b", 1, share) },
		"scope":      func() (keybearer.SealContext, error) { return keybearer.NewSealContext("scp_c", 1, "crd_b", 1, share) },
		"generation": func() (keybearer.SealContext, error) { return keybearer.NewSealContext("scp_a", 2, "crd_b", 1, share) },
		"credential": func() (keybearer.SealContext, error) { return keybearer.NewSealContext("scp_a", 1, "crd_c", 1, share) },
		"version":    func() (keybearer.SealContext, error) { return keybearer.NewSealContext("scp_a", 1, "crd_b", 2, share) },
		"share":      func() (keybearer.SealContext, error) { return keybearer.NewSealContext("scp_a", 1, "crd_b", 1, other) },
		"boundary":   func() (keybearer.SealContext, error) { return keybearer.NewSealContext("scp_ac", 1, "rd_b", 1, share) },
	} {
		sc, err := f()
		if err != nil {
			t.Fatal(err)
		}
		if twin, ok := seen[sc]; ok {
			t.Errorf("%s and %s share a context", name, twin)
		}
		seen[sc] = name
	}
	for _, f := range []func() (keybearer.SealContext, error){
		func() (keybearer.SealContext, error) { return keybearer.NewSealContext("", 1, "c", 1, share) },
		func() (keybearer.SealContext, error) { return keybearer.NewSealContext("s", 0, "c", 1, share) },
		func() (keybearer.SealContext, error) { return keybearer.NewSealContext("s", 1, "", 1, share) },
		func() (keybearer.SealContext, error) { return keybearer.NewSealContext("s", 1, "c", 0, share) },
		func() (keybearer.SealContext, error) { return keybearer.NewSealContext("s", 1, "c", 1, nil) },
	} {
		if _, err := f(); err == nil {
			t.Error("an incomplete context was made")
		}
	}
}

func TestNamesIDsAndTokens(t *testing.T) {
	for s, want := range map[string]bool{
		"docs/crm": true, "global/a.b_c-d": true, "d/0": true, "docs/" + strings.Repeat("a", 63): true,
		"docs": false, "docs/": false, "/crm": false, "Docs/crm": false, "docs/crm/x": false, "docs/.crm": false, "docs/-": false,
		"do.cs/crm": false, "docs/" + strings.Repeat("a", 64): false, "docs/crm ": false, "docs/cr m": false, "docs/ä": false, "": false,
		"scp_" + strings.Repeat("a", 26) + "/crd_" + strings.Repeat("2", 26): true, "scp_short/crm": false,
	} {
		ref, err := keybearer.ParseRef(s)
		if (err == nil) != want || want && ref.String() != s {
			t.Errorf("%q: %v, %v", s, ref, err)
		}
	}
	if id := keybearer.NewID(keybearer.IDScope); !keybearer.IsID(id, keybearer.IDScope) || keybearer.IsID(id, keybearer.IDCaller) || keybearer.ValidScopeName(id) {
		t.Errorf("id %q", id)
	}
	secret, token := keybearer.NewToken(keybearer.CallerTokenPrefix, time.Now())
	if text := secret.Reveal(); keybearer.HashToken(text) != token.Hash || !keybearer.ContainsToken("x"+text) || !keybearer.LooksLikeToken(text) {
		t.Error("token")
	}
	var h keybearer.TokenHash
	b, _ := token.Hash.MarshalText()
	if err := h.UnmarshalText(b); err != nil || h != token.Hash || h.UnmarshalText([]byte("zz")) == nil {
		t.Error("token hash")
	}
}

func TestStatesGrantsAndRulesAsText(t *testing.T) {
	now := time.Now()
	sealed := keybearer.Version{Sealed: []byte("x")}
	for want, c := range map[keybearer.State]keybearer.Credential{
		keybearer.Active:      {Current: sealed, ExpiresAt: now.Add(1)},
		keybearer.Expired:     {Current: sealed, ExpiresAt: now},
		keybearer.Disabled:    {Current: sealed, ExpiresAt: now, Disabled: true},
		keybearer.Deleted:     {Current: sealed, Disabled: true, DeletedAt: now},
		keybearer.NeedsSecret: {},
	} {
		if got := c.State(now); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for s, ok := range map[string]bool{"app:billing": true, "user:a@b.c": true, "group:x y": false, "app:B": false, "everyone": false, "role:x": false, "user:": false} {
		if _, err := keybearer.ParseSubject(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, l := range []keybearer.Level{keybearer.Use, keybearer.View, keybearer.Edit, keybearer.Administer} {
		if got, err := keybearer.ParseLevel(l.String()); err != nil || got != l {
			t.Errorf("%s: %v %v", l, got, err)
		}
	}
	if _, err := keybearer.ParseLevel("none"); err == nil {
		t.Error("none can be granted")
	}
	for want, r := range map[string]keybearer.Rule{
		"https://api.example.com/hook": {Scheme: "https", Host: "api.example.com", Port: 443, Path: "/hook"},
		"http://[::1]:8080":            {Scheme: "http", Host: "::1", Port: 8080},
	} {
		if r.String() != want {
			t.Errorf("%q, want %q", r.String(), want)
		}
	}
}
