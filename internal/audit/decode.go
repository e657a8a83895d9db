package audit

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keybearer/keybearer"
)

// ParseEvent reads one line of the log. Unknown keys are ignored. It keeps no reference to line. It returns
// [keybearer.Invalid] for a line that is not an event.
func ParseEvent(line []byte) (keybearer.Event, error) {
	return parseLine(string(line)) // the one allocation: all strings are parts of it
}

func parseLine(line string) (keybearer.Event, error) {
	var e keybearer.Event
	p := parser{rest: strings.TrimSuffix(line, "\n")}
	if p.event(&e) {
		return e, nil
	}
	return parseAny(line)
}

// parseAny is apart so that the quick way's event stays on the stack.
func parseAny(line string) (keybearer.Event, error) {
	var e keybearer.Event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return keybearer.Event{}, keybearer.NewError(keybearer.Invalid, "the line is not an audit event").Wrap(err)
	}
	return e, nil
}

// parser reads what AppendEvent writes, as long as no string needs an escape. It sets bad on everything else, which is left to
// encoding/json; what it accepts, it reads as encoding/json does.
type parser struct {
	rest string
	bad  bool
}

func (p *parser) event(e *keybearer.Event) bool {
	if !utf8.ValidString(p.rest) {
		return false
	}
	p.expect('{')
	for !p.bad {
		key := p.text()
		p.expect(':')
		switch key {
		case "time":
			e.Time = p.time()
		case "id":
			e.ID = p.text()
		case "phase":
			e.Phase = keybearer.Phase(p.text())
		case "event":
			e.Kind = keybearer.EventKind(p.text())
		case "scope":
			e.Scope = p.text()
		case "credential":
			e.Credential = p.text()
		case "credential_id":
			e.CredentialID = p.text()
		case "secret_version":
			n, err := strconv.ParseUint(p.number(false), 10, 64)
			e.SecretVersion, p.bad = n, p.bad || err != nil
		case "caller":
			e.Caller = p.text()
		case "token_id":
			e.TokenID = p.text()
		case "acting_user":
			e.ActingUser = p.text()
		case "operator":
			e.Operator = p.text()
		case "method":
			e.Method = p.text()
		case "scheme":
			e.Scheme = p.text()
		case "host":
			e.Host = p.text()
		case "port":
			n, err := strconv.ParseUint(p.number(false), 10, 16)
			e.Port, p.bad = uint16(n), p.bad || err != nil
		case "path":
			e.Path = p.text()
		case "decision":
			e.Decision = p.text()
		case "code":
			e.Code = keybearer.Code(p.text())
		case "rule":
			e.Rule = p.text()
		case "would_refuse":
			e.WouldRefuse = keybearer.Code(p.text())
		case "trial":
			e.Trial = p.text()
		case "destination_status":
			e.DestinationStatus = int(p.integer(strconv.IntSize))
		case "duration_ms":
			f, err := strconv.ParseFloat(p.number(true), 64)
			e.DurationMS, p.bad = f, p.bad || err != nil
		case "bytes_out":
			e.BytesOut = p.integer(64)
		case "bytes_in":
			e.BytesIn = p.integer(64)
		case "action":
			e.Action = p.text()
		case "changed":
			e.Changed = p.texts()
		default:
			p.bad = true
		}
		if p.bad || p.rest == "}" {
			break
		}
		p.expect(',')
	}
	return !p.bad
}

func (p *parser) next() byte {
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

func (p *parser) expect(c byte) {
	if p.next() != c {
		p.bad = true
		return
	}
	p.rest = p.rest[1:]
}

func (p *parser) text() string {
	p.expect('"')
	n := plainPrefix(p.rest)
	for n < len(p.rest) && p.rest[n] >= utf8.RuneSelf {
		n++
		n += plainPrefix(p.rest[n:])
	}
	if n == len(p.rest) || p.rest[n] != '"' {
		p.bad = true
		return ""
	}
	s := p.rest[:n]
	p.rest = p.rest[n+1:]
	return s
}

func (p *parser) texts() []string {
	p.expect('[')
	var list []string
	for !p.bad {
		list = append(list, p.text())
		if p.next() == ']' {
			p.expect(']')
			break
		}
		p.expect(',')
	}
	return list
}

func (p *parser) time() time.Time {
	s := p.text()
	if len(s) != len("2006-01-02T15:04:05.000000Z") || s[19] != '.' || s[26] != 'Z' {
		p.bad = true
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	p.bad = p.bad || err != nil
	return t
}

func (p *parser) integer(bits int) int64 {
	n, err := strconv.ParseInt(p.number(false), 10, bits)
	p.bad = p.bad || err != nil
	return n
}

// number takes a JSON number without exponent, and without fraction unless one may be there.
func (p *parser) number(fraction bool) string {
	s, n := p.rest, 0
	digits := func() int {
		start := n
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return n - start
	}
	if p.next() == '-' {
		n++
	}
	first := n
	if d := digits(); d == 0 || d > 1 && s[first] == '0' {
		p.bad = true
	}
	if fraction && n < len(s) && s[n] == '.' {
		n++
		if digits() == 0 {
			p.bad = true
		}
	}
	p.rest = s[n:]
	return s[:n]
}
