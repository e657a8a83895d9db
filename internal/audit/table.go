package audit

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keybearer/keybearer"
)

// Columns of events as a table, in the order of Row.
var Columns = []string{
	"time", "id", "phase", "event", "scope", "credential", "credential_id", "secret_version", "caller", "token_id", "acting_user", "operator", "method", "scheme", "host",
	"port", "path", "decision", "code", "rule", "would_refuse", "trial", "destination_status", "duration_ms", "bytes_out", "bytes_in", "action", "changed",
}

// Row is an event as a row of a table, each value harmless to a spreadsheet.
func Row(e *keybearer.Event) []string {
	number := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	duration := ""
	if e.DurationMS != 0 {
		duration = strconv.FormatFloat(e.DurationMS, 'f', -1, 64)
	}
	out := []string{
		e.Time.UTC().Format(time.RFC3339Nano), e.ID, string(e.Phase), string(e.Kind), e.Scope, e.Credential, e.CredentialID, number(int64(e.SecretVersion)), e.Caller, e.TokenID,
		e.ActingUser, e.Operator, e.Method, e.Scheme, e.Host, number(int64(e.Port)), e.Path, e.Decision, string(e.Code), e.Rule, string(e.WouldRefuse), e.Trial,
		number(int64(e.DestinationStatus)), duration, number(e.BytesOut), number(e.BytesIn), e.Action, strings.Join(e.Changed, " "),
	}
	for i := range out {
		out[i] = harmless(out[i])
	}
	return out
}

// harmless keeps a spreadsheet from running a value as a formula: what could be one begins with an apostrophe.
func harmless(s string) string {
	if first, _ := utf8.DecodeRuneInString(s); s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return "'" + s
	}
	return s
}
