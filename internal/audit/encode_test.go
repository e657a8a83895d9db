package audit

import (
	"encoding/json"
	"math"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/keybearer/keybearer"
)

// viaJSON is what encoding/json makes of an event: the reference for AppendEvent.
func viaJSON(t *testing.T, line []byte) keybearer.Event {
	t.Helper()
	var e keybearer.Event
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatalf("%v in line %s", err, line)
	}
	return e
}

func checkEncoding(t *testing.T, e *keybearer.Event) {
	t.Helper()
	line := AppendEvent([]byte("prefix"), e)
	if string(line[:6]) != "prefix" {
		t.Fatal("the buffer's content was not kept")
	}
	line = line[6:]
	for _, c := range line {
		if c < ' ' {
			t.Fatalf("control byte %#x in line %q", c, line)
		}
	}
	if !utf8.Valid(line) {
		t.Fatalf("line is not UTF-8: %q", line)
	}
	want := *e
	want.Time = want.Time.UTC().Truncate(time.Microsecond)
	if y := want.Time.Year(); y < 0 || y > 9999 {
		want.Time = time.Time{}
	}
	if math.IsNaN(want.DurationMS) || math.IsInf(want.DurationMS, 0) {
		want.DurationMS = 0
	}
	reference, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(viaJSON(t, reference), viaJSON(t, line)); diff != "" {
		t.Fatalf("differs from encoding/json (-want +got):\n%s\nline %s", diff, line)
	}
	parsed, err := ParseEvent(line)
	if err != nil {
		t.Fatalf("ParseEvent: %v", err)
	}
	if diff := cmp.Diff(viaJSON(t, line), parsed); diff != "" {
		t.Fatalf("ParseEvent differs (-want +got):\n%s", diff)
	}
}

func fullEvent() *keybearer.Event {
	return &keybearer.Event{
		Time: time.Date(2026, 3, 9, 7, 5, 1, 42_000_999, time.FixedZone("east", 7200)), ID: "req_aaaabbbbccccddddeeeeffffgg",
		Phase: keybearer.Outcome, Kind: keybearer.UseEvent, Scope: "docs", Credential: "crm",
		CredentialID: "crd_aaaabbbbccccddddeeeeffffgg", SecretVersion: math.MaxUint64, Caller: "billing", TokenID: "tok_a", ActingUser: "ann",
		Operator: "olaf", Method: "POST", Scheme: "https", Host: "api.example.com", Port: 8443, Path: "/hook/7",
		Decision: keybearer.Allow, Code: keybearer.DestinationTimeout, Rule: "https://*.example.com:8443/hook",
		DestinationStatus: 504, DurationMS: 12.345, BytesOut: math.MaxInt64, BytesIn: math.MinInt64,
		Action: "credential.create", Changed: []string{"rules", "expires_at"},
	}
}

func TestAppendEvent(t *testing.T) {
	want := `{"time":"2026-03-09T05:05:01.042000Z","id":"req_aaaabbbbccccddddeeeeffffgg","phase":"outcome","event":"use",` +
		`"scope":"docs","credential":"crm","credential_id":"crd_aaaabbbbccccddddeeeeffffgg","secret_version":18446744073709551615,` +
		`"caller":"billing","token_id":"tok_a","acting_user":"ann","operator":"olaf","method":"POST","scheme":"https","host":"api.example.com",` +
		`"port":8443,"path":"/hook/7","decision":"allow","code":"destination_timeout","rule":"https://*.example.com:8443/hook",` +
		`"destination_status":504,"duration_ms":12.345,"bytes_out":9223372036854775807,"bytes_in":-9223372036854775808,` +
		`"action":"credential.create","changed":["rules","expires_at"]}`
	if diff := cmp.Diff(want, string(AppendEvent(nil, fullEvent()))); diff != "" {
		t.Error(diff)
	}
	want = `{"time":"0001-01-01T00:00:00.000000Z","id":"","phase":"","event":""}`
	if diff := cmp.Diff(want, string(AppendEvent(nil, &keybearer.Event{}))); diff != "" {
		t.Error(diff)
	}
}

func TestAppendEventStrings(t *testing.T) {
	for _, s := range []string{
		"", `"`, `\`, "\x00\x01\x1f\x7f", "\n\r\t\b\f", "<script>&amp;", "é€😀", "\u2028\u2029", "\xff", "a\xc3", "\xc3\x28b",
		"\xed\xa0\x80", "\xf4\x90\x80\x80", "\ufffd", "x\xffy\xfez", "line\nbreak\", \"event\":\"use",
	} {
		e := fullEvent()
		e.Path, e.Host, e.ID, e.Changed = s, s, s, []string{s, "", s}
		checkEncoding(t, e)
	}
}

func FuzzAppendEvent(f *testing.F) {
	f.Add("id", "path", "host", uint64(1), int64(5), 2.5, int64(1_700_000_000_000_000_001), uint16(443), 200)
	f.Add("\xff\x00", `"\`, "\u2028", uint64(math.MaxUint64), int64(math.MinInt64), math.Inf(1), int64(math.MinInt64), uint16(0), -1)
	f.Add("", "", "", uint64(0), int64(0), 1e-7, int64(0), uint16(0), 0)
	f.Fuzz(func(t *testing.T, id, path, host string, version uint64, bytes int64, duration float64, nanos int64, port uint16, status int) {
		checkEncoding(t, &keybearer.Event{
			Time: time.Unix(0, nanos), ID: id, Phase: keybearer.Phase(path), Kind: keybearer.EventKind(host), Scope: path,
			Credential: host, CredentialID: id, SecretVersion: version, Caller: path, TokenID: id, ActingUser: host, Operator: id, Method: path,
			Scheme: host, Host: host, Port: port, Path: path, Decision: id, Code: keybearer.Code(path), Rule: host,
			DestinationStatus: status, DurationMS: duration, BytesOut: bytes, BytesIn: -bytes, Action: id, Changed: []string{path, host},
		})
	})
}

func TestAppendEventDoesNotAllocate(t *testing.T) {
	e, b := fullEvent(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { b = AppendEvent(b[:0], e) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	e, buf := fullEvent(), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEvent(buf[:0], e)
	}
	b.SetBytes(int64(len(buf)))
}
