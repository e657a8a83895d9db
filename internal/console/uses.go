package console

import (
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

// useLines are the lines that an app's owner copies to send with a credential.
type useLines struct {
	Header  string // curl through the proxy, with the header that names the credential
	Address string // the same with credential and token in the proxy's address
}

// uses makes the lines for a credential, for a request that the first of its rules admits. An unknown proxy is taken for the default one.
func uses(proxy string, c custody.Credential) useLines {
	if proxy == "" {
		proxy = "127.0.0.1:9080"
	}
	ref, request := c.Scope+"/"+c.Name, "http://api.example.com/"
	if len(c.Terms.Rules) > 0 {
		request = plainRequest(c.Terms.Rules[0])
	}
	return useLines{
		Header: "curl -x http://" + proxy + " -H 'Keybearer-Credential: " + ref + "' \\\n" +
			"  --proxy-header \"Proxy-Authorization: Bearer $TOKEN\" " + request,
		Address: "http_proxy=\"http://" + strings.Replace(ref, "/", "%2F", 1) + ":$TOKEN@" + proxy + "\" \\\n  curl " + request,
	}
}

// plainRequest is what curl gets for a request that the rule admits, as an app asks for it: with "http", whatever the rule's scheme.
func plainRequest(r keybearer.Rule) string {
	matches, _ := policy.Examples(r)
	if len(matches) == 0 {
		return shellWord("http://" + r.Host + "/")
	}
	e, method := matches[0], ""
	if e.Method != "GET" {
		method = "-X " + e.Method + " "
	}
	return method + shellWord(plain(e.URL))
}

// shellWord is a text as one word of a shell (POSIX.1-2024, XCU 2.2.2): the path of a rule may hold quotes, "$(…)" and "&", and whoever copies a line is
// not whoever wrote the rule.
func shellWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
