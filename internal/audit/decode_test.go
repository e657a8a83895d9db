package audit

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/keybearer/keybearer"
)

// Whatever the quick parser accepts, it must read as encoding/json reads it.
func FuzzParseEvent(f *testing.F) {
	f.Add(string(AppendEvent(nil, fullEvent())))
	for _, s := range []string{
		`{}`, `{"id":"a","id":"b"}`, `{"ID":"a"}`, `{"port":65536}`, `{"port":-0}`, `{"bytes_in":-0}`, `{"bytes_in":01}`,
		`{"duration_ms":1.}`, `{"duration_ms":1e3}`, `{"duration_ms":-0.0}`, `{"changed":[]}`, `{"changed":null}`, `{"changed":["a"]`,
		`{"id":"a"} `, `{"id":"a",}`, `{"id":"a"}}`, `{"id":"\u0041"}`, "{\"id\":\"\xff\"}", `{"time":"2026-02-30T00:00:00.000000Z"}`,
		`{"time":"2026-02-03T24:00:00.000000Z"}`, `{"time":"2026-02-03T4:000:00.00000Z"}`, `{"time":"2026-02-03T04:00:60.000000Z"}`,
		`{"secret_version":18446744073709551616}`, `{"x":1,"id":"a"}`, `[]`, `null`, "", "\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var want keybearer.Event
		wantErr := json.Unmarshal([]byte(line), &want)
		got, err := ParseEvent([]byte(line))
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%q: got error %v, encoding/json %v", line, err, wantErr)
		}
		if err != nil {
			if keybearer.CodeOf(err) != keybearer.Invalid {
				t.Fatalf("%q: code %q", line, keybearer.CodeOf(err))
			}
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", line, diff)
		}
	})
}

// What the log writes in practice must take the quick way, or the feed would cost more than the log.
func TestParseEventIsQuick(t *testing.T) {
	line := AppendEvent(nil, fullEvent())
	var e keybearer.Event
	if p := (parser{rest: string(line)}); !p.event(&e) {
		t.Fatal("the quick parser gave up")
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = ParseEvent(line) }); n > 4 { // the line, the names of what changed
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParseEvent(b *testing.B) {
	line := AppendEvent(nil, event("req_aaaabbbbccccddddeeeeffffgg"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseEvent(line); err != nil {
			b.Fatal(err)
		}
	}
}
