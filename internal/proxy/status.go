package proxy

import "strings"

// proxyName is how Keybearer calls itself in Proxy-Status (RFC 9209).
const proxyName = "keybearer"

// foreignStatus returns what a destination's Proxy-Status may say to the app: its members but those named like us. A value
// that is not a list of structured fields (RFC 8941 section 4.2.1) is dropped whole.
func foreignStatus(values []string) string {
	var kept []string
	for _, value := range values {
		members, ok := splitMembers(value)
		if !ok {
			return ""
		}
		for _, m := range members {
			if !ours(m) {
				kept = append(kept, m)
			}
		}
	}
	return strings.Join(kept, ", ")
}

// ours reports whether a member's item is our name, as token or string, in whatever case.
func ours(member string) bool {
	name, _, _ := strings.Cut(member, ";")
	name = strings.ReplaceAll(strings.Trim(strings.TrimSpace(name), `"`), `\`, "")
	return strings.EqualFold(name, proxyName)
}

// splitMembers splits a list at its top-level commas and checks that each member begins with a token or a string.
func splitMembers(value string) (members []string, ok bool) {
	var quoted, escaped bool
	start := 0
	add := func(end int) bool {
		m := strings.Trim(value[start:end], " \t")
		start = end + 1
		if m == "" || !(m[0] == '"' || m[0] == '*' || m[0] >= 'a' && m[0] <= 'z' || m[0] >= 'A' && m[0] <= 'Z') {
			return false
		}
		members = append(members, m)
		return true
	}
	for i := range len(value) {
		c := value[i]
		switch {
		case c < ' ' && c != '\t' || c >= 0x7f:
			return nil, false
		case escaped:
			if c != '"' && c != '\\' {
				return nil, false
			}
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			if !add(i) {
				return nil, false
			}
		}
	}
	if quoted || escaped || !add(len(value)) {
		return nil, false
	}
	return members, true
}
