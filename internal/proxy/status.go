package proxy

import (
	"strings"

	"github.com/dunglas/httpsfv"
)

// proxyName is how Keybearer calls itself in Proxy-Status (RFC 9209).
const proxyName = "keybearer"

// foreignStatus returns what a destination's Proxy-Status may say to the app: its members but those named like us. A value that is not a list
// of structured fields (RFC 9651), or whose members are no tokens or strings, is dropped whole.
func foreignStatus(values []string) string {
	if len(values) == 0 {
		return ""
	}
	list, err := httpsfv.UnmarshalList(values)
	if err != nil {
		return ""
	}
	var kept httpsfv.List
	for _, member := range list {
		item, ok := member.(httpsfv.Item)
		if !ok {
			return ""
		}
		var name string
		switch v := item.Value.(type) {
		case httpsfv.Token:
			name = string(v)
		case string:
			name = v
		default:
			return ""
		}
		if !strings.EqualFold(strings.TrimSpace(name), proxyName) {
			kept = append(kept, item)
		}
	}
	text, err := httpsfv.Marshal(kept)
	if err != nil {
		return ""
	}
	return text
}
