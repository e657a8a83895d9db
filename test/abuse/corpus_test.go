package abuse

import "strings"

// attack is a request that a client should not send, followed on the same connection by an honest one.
type attack struct {
	name   string
	method string // "": POST
	path   string // "": /attack
	lines  string // further lines of the head, without the last line end
	body   string // everything behind the empty line; {smuggled} is a whole request that would be served, were it taken for one
	edit   func(head string) string

	first int            // status of the answer; 0: the connection is closed without one
	but   map[string]int // the ways in which it is another
	next  bool           // the honest request behind it is served; false: the connection is closed
	// passed are lines that must arrive as they are; kept is the body that must arrive.
	passed []string
	kept   string
}

// line replaces a line of the head that begins with the prefix. "" removes it.
func line(prefix, with string) func(string) string {
	return func(head string) string {
		lines := strings.SplitAfter(head, "\r\n")
		for i, l := range lines {
			if strings.HasPrefix(l, prefix) {
				lines[i] = with
			}
		}
		return strings.Join(lines, "")
	}
}

// start edits the request line.
func start(old, with string) func(string) string {
	return func(head string) string { return strings.Replace(head, old, with, 1) }
}

const (
	chunked = "Transfer-Encoding: chunked"
	ends    = "0\r\n\r\n"
	// half is a body that is whole for who takes the shorter reading, with a request of its own behind it.
	half = ends + "{smuggled}"
)

// huge is a field of so many bytes.
func huge(n int) string { return "X-Huge: " + strings.Repeat("x", n) }

var corpus = []attack{
	// Two lengths, or one that can be read two ways (RFC 9112 section 6.3).
	{name: "length and chunked", lines: "Content-Length: 5\r\n" + chunked, body: half, first: 200},
	{name: "chunked and length", lines: chunked + "\r\nContent-Length: 5", body: half, first: 200},
	{name: "length zero and chunked", lines: "Content-Length: 0\r\n" + chunked, body: half, first: 200},
	{name: "length over chunked", lines: "Content-Length: 400\r\n" + chunked, body: "3\r\nabc\r\n" + half, first: 200, kept: "abc"},
	{name: "length bad and chunked", lines: "Content-Length: -1\r\n" + chunked, body: half, first: 400},
	{name: "two lengths that differ", lines: "Content-Length: 0\r\nContent-Length: 5", body: half, first: 400},
	{name: "two lengths that agree", lines: "Content-Length: 3\r\nContent-Length: 3", body: "abc", first: 200, next: true, kept: "abc"},
	{name: "list of lengths", lines: "Content-Length: 3, 3", body: "abc{smuggled}", first: 400},
	{name: "list of lengths that differ", lines: "Content-Length: 0, 5", body: half, first: 400},
	{name: "length with a plus", lines: "Content-Length: +5", body: half, first: 400},
	{name: "length with a minus", lines: "Content-Length: -5", body: half, first: 400},
	{name: "length in hex", lines: "Content-Length: 0x5", body: half, first: 400},
	{name: "length with an underscore", lines: "Content-Length: 1_0", body: half, first: 400},
	{name: "length with a blank inside", lines: "Content-Length: 5 5", body: half, first: 400},
	{name: "length that is empty", lines: "Content-Length:", body: half, first: 400},
	{name: "length beyond 64 bits", lines: "Content-Length: 99999999999999999999", body: half, first: 400},
	{name: "length with zeros before", lines: "Content-Length: 0003", body: "abc", first: 200, next: true, kept: "abc"},
	{name: "length in full-width digits", lines: "Content-Length: \uff15", body: half, first: 400},
	{name: "length under an alias", lines: "Content_Length: 500\r\nContent.Length: 500", first: 200, next: true},

	// Transfer codings that one side knows and the other does not.
	{name: "coding list", lines: "Transfer-Encoding: chunked, identity", body: half, first: 501},
	{name: "coding list the other way", lines: "Transfer-Encoding: identity, chunked", body: half, first: 501},
	{name: "gzip, chunked", lines: "Transfer-Encoding: gzip, chunked", body: half, first: 501},
	{name: "identity", lines: "Transfer-Encoding: identity\r\nContent-Length: 5", body: half, first: 501},
	{name: "coding xchunked", lines: "Transfer-Encoding: xchunked\r\nContent-Length: 5", body: half, first: 501},
	{name: "coding in quotes", lines: "Transfer-Encoding: \"chunked\"\r\nContent-Length: 5", body: half, first: 501},
	{name: "coding with a parameter", lines: "Transfer-Encoding: chunked;q=1\r\nContent-Length: 5", body: half, first: 501},
	{name: "coding that is empty", lines: "Transfer-Encoding:\r\nContent-Length: 5", body: half, first: 501},
	{name: "coding twice", lines: chunked + "\r\n" + chunked, body: half, first: 501},
	{name: "coding twice, one unknown", lines: chunked + "\r\nTransfer-Encoding: x", body: half, first: 501},
	{name: "coding after two blanks", lines: "Transfer-Encoding:  chunked\r\nContent-Length: 5", body: half, first: 200},
	{name: "coding after a tab", lines: "Transfer-Encoding:\tchunked\r\nContent-Length: 5", body: half, first: 200},
	{name: "coding before a tab", lines: "Transfer-Encoding: chunked\t\r\nContent-Length: 5", body: half, first: 200},
	{name: "coding after a vertical tab", lines: "Transfer-Encoding: \x0bchunked\r\nContent-Length: 5", body: half, first: 400},
	{name: "coding behind a NUL", lines: "Transfer-Encoding: chunked\x00\r\nContent-Length: 5", body: half, first: 400},
	{name: "coding in capitals", lines: "Transfer-Encoding: CHUNKED", body: "3\r\nabc\r\n" + half, first: 200, kept: "abc"},
	{name: "coding with a long s", lines: "Transfer-Encoding: chun\u212Aed\r\nContent-Length: 5", body: half, first: 501},
	{name: "coding folded", lines: "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5", body: half, first: 200},
	{name: "coding under an alias", lines: "Transfer_Encoding: chunked\r\nContent-Length: 5", body: ends, first: 200, next: true, kept: ends},
	{name: "coding with a blank before the colon", lines: "Transfer-Encoding : chunked\r\nContent-Length: 5", body: half, first: 400},
	{name: "coding behind a bare CR", lines: "X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5", body: half, first: 400},
	{name: "coding behind a bare LF", lines: "X: a\n" + chunked + "\r\nContent-Length: 5", body: half, first: 200},
	{name: "coding in HTTP/1.0", lines: chunked + "\r\nContent-Length: 5\r\nConnection: keep-alive", body: half, edit: start("HTTP/1.1", "HTTP/1.0"), first: 200, kept: ends},

	// Chunks (RFC 9112 section 7.1; Go CVE-2025-22871).
	{name: "chunk sizes that end in LF", lines: chunked, body: "3\nabc\r\n" + half, first: 400},
	{name: "chunk data that ends in LF", lines: chunked, body: "3\r\nabc\n" + half, first: 400},
	{name: "chunk extension", lines: chunked, body: "3;a=b\r\nabc\r\n" + half, first: 200, kept: "abc"},
	{name: "chunk extension in quotes", lines: chunked, body: "3;a=\"b\"\r\nabc\r\n" + half, first: 200, kept: "abc"},
	{name: "chunk extension with LF in quotes", lines: chunked, body: "3;a=\"\n\"\r\nabc\r\n" + half, first: 400},
	{name: "chunk extension with CR", lines: chunked, body: "3;a\rb\r\nabc\r\n" + half, first: 400},
	{name: "chunk extension without end", lines: chunked, body: "3;" + strings.Repeat("x", 8<<10) + "\r\nabc\r\n" + half, first: 400},
	{name: "chunk size with a blank", lines: chunked, body: "3 \r\nabc\r\n" + half, first: 200, kept: "abc"},
	{name: "chunk size after a blank", lines: chunked, body: " 3\r\nabc\r\n" + half, first: 400},
	{name: "chunk size with a sign", lines: chunked, body: "+3\r\nabc\r\n" + half, first: 400},
	{name: "chunk size below zero", lines: chunked, body: "-1\r\nabc\r\n" + half, first: 400},
	{name: "chunk size 0x3", lines: chunked, body: "0x3\r\nabc\r\n" + half, first: 400},
	{name: "chunk size that is empty", lines: chunked, body: "\r\nabc\r\n" + half, first: 400},
	{name: "chunk size beyond 64 bits", lines: chunked, body: "1000000000000000f\r\nabc\r\n" + half, first: 400},
	{name: "chunk size with zeros before", lines: chunked, body: "00000000000000003\r\nabc\r\n" + half, first: 400},
	{name: "chunk shorter than it says", lines: chunked, body: "2\r\nabc\r\n" + half, first: 400},
	{name: "last chunk of many zeros", lines: chunked, body: "3\r\nabc\r\n000\r\n\r\n{smuggled}", first: 200, kept: "abc"},
	{name: "chunks of one byte each with extensions", lines: chunked, body: strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\na\r\n", 100) + half, first: 400},

	// Trailers of a request.
	{name: "trailer Authorization", lines: chunked + "\r\nTrailer: Authorization", body: "3\r\nabc\r\n0\r\nAuthorization: Bearer trailed\r\n\r\n", first: 200, kept: "abc"},
	{name: "trailer X-Api-Key unannounced", lines: chunked, body: "3\r\nabc\r\n0\r\nX-Api-Key: trailed\r\n\r\n", first: 200, kept: "abc"},
	{name: "trailer with a length", lines: chunked, body: "3\r\nabc\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}", first: 200, kept: "abc"},
	{name: "trailer that names a credential", lines: chunked + "\r\nTrailer: Keybearer-Credential", body: "0\r\nKeybearer-Credential: docs/other\r\n\r\n", first: 200},
	{name: "trailer that is malformed", lines: chunked, body: "3\r\nabc\r\n0\r\nno field\r\n\r\n{smuggled}", first: 400},

	// Fields.
	{name: "field folded", lines: "X-Folded: a\r\n b", first: 200, next: true, method: "GET", passed: []string{"X-Folded: a b"}},
	{name: "field folded before all others", method: "GET", edit: func(h string) string { return strings.Replace(h, "\r\n", "\r\n X: y\r\n", 1) }, first: 400},
	{name: "credential folded", method: "GET", lines: "X: a\r\n Authorization: Bearer folded", first: 200, next: true},
	{name: "field name with a blank", lines: "X Y: a", method: "GET", first: 400},
	{name: "field name with a blank at its end", lines: "Authorization : Bearer mine", method: "GET", first: 400},
	{name: "field name with a tab at its end", lines: "Authorization\t: Bearer mine", method: "GET", first: 400},
	{name: "field name with NUL", lines: "X\x00Y: a", method: "GET", first: 400},
	{name: "field name that is empty", lines: ": a", method: "GET", first: 400},
	{name: "field without colon", lines: "Authorization", method: "GET", first: 400},
	{name: "field name beyond ASCII", lines: "X-\u00e9: a", method: "GET", first: 400},
	{name: "value with NUL", lines: "X: a\x00b", method: "GET", first: 400},
	{name: "value with a bare CR", lines: "X: a\rAuthorization: Bearer mine", method: "GET", first: 400},
	{name: "value with DEL", lines: "X: a\x7fb", method: "GET", first: 400},
	{name: "line that ends in LF", lines: "X: a\nX-Next: b", method: "GET", first: 200, next: true, passed: []string{"X: a", "X-Next: b"}},
	{name: "alias with an underscore", lines: "X_Api_Key: mine\r\nAuthorization_: x", method: "GET", first: 200, next: true},
	{name: "alias with a dot", lines: "X.Api.Key: mine", method: "GET", first: 200, next: true},
	{name: "alias in another case", lines: "AUTHORIZATION: Digest mine\r\nx-api-key: mine\r\nX-API-KEY: mine", method: "GET", first: 200, next: true},
	{name: "huge field", lines: huge(40 << 10), method: "GET", first: 431},
	{name: "many fields", lines: strings.TrimSuffix(strings.Repeat("X-Many: 1234567\r\n", 3000), "\r\n"), method: "GET", first: 431},
	{name: "nominated credential", lines: "Connection: Authorization, X-Api-Key, keep-alive", method: "GET", first: 200, next: true},
	{name: "nominated under an alias", lines: "Connection: authorization_, X_Api_Key, x.api.key", method: "GET", first: 200, next: true},
	{name: "nominated tags", lines: "Connection: Keybearer-Credential, Keybearer-Destination, Proxy-Authorization", method: "GET", first: 200, next: true},
	{name: "nominated host and length", lines: "Connection: Host, Content-Length, Transfer-Encoding\r\nContent-Length: 3", body: "abc", first: 200, next: true, kept: "abc"},
	{name: "nominated in Proxy-Connection", lines: "Proxy-Connection: Authorization, X-Api-Key", method: "GET", first: 200, next: true},
	{name: "TE and Trailer nominated", lines: "Connection: TE, Trailer\r\nTE: trailers, chunked\r\nTrailer: Authorization", method: "GET", first: 200, next: true},
	{name: "forwarded and overridden", lines: "Forwarded: for=127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: evil\r\nVia: 1.0 x\r\nMax-Forwards: 0", method: "GET", first: 200, next: true},

	// The request line.
	{name: "two blanks in the request line", method: "GET", edit: start("GET ", "GET  "), first: 400},
	{name: "blank at the end of the request line", method: "GET", edit: start(" HTTP/1.1\r\n", " HTTP/1.1 \r\n"), first: 400},
	{name: "tab in the request line", method: "GET", edit: start("GET ", "GET\t"), first: 400},
	{name: "CR in the request line", method: "GET", edit: start(" HTTP/1.1", "\rHTTP/1.1"), first: 400},
	{name: "empty lines before", method: "GET", edit: func(h string) string { return "\r\n" + h }, first: 400},
	{name: "HTTP/0.9", method: "GET", edit: start(" HTTP/1.1", ""), first: 400},
	{name: "HTTP/1.0 that asks to stay", method: "GET", lines: "Connection: keep-alive", edit: start("HTTP/1.1", "HTTP/1.0"), first: 200},
	{name: "HTTP/1.2", method: "GET", edit: start("HTTP/1.1", "HTTP/1.2"), first: 200, next: true},
	{name: "HTTP/2.0 in a request line", method: "GET", edit: start("HTTP/1.1", "HTTP/2.0"), first: 505},
	{name: "HTTP/3.1", method: "GET", edit: start("HTTP/1.1", "HTTP/3.1"), first: 505},
	{name: "http/1.1 in small letters", method: "GET", edit: start("HTTP/1.1", "http/1.1"), first: 400},
	{name: "HTTP/01.1", method: "GET", edit: start("HTTP/1.1", "HTTP/01.1"), first: 400},
	{name: "method in small letters", method: "get", first: 400, next: true},
	{name: "method with a colon", method: "GE:T", first: 400},
	{name: "TRACE", method: "TRACE", first: 400, next: true},
	{name: "TRACK", method: "TRACK", first: 400, next: true},
	{name: "PRI", method: "PRI", first: 400, next: true},
	{name: "OPTIONS *", method: "OPTIONS", edit: asterisk, first: 400, next: true},
	{name: "GET *", method: "GET", edit: asterisk, first: 400, next: true},
	{name: "fragment", method: "GET", path: "/a#b", first: 400, next: true},
	{name: "backslash", method: "GET", path: "/a\\b", first: 400, next: true},
	{name: "NUL in the target", method: "GET", path: "/a\x00b", first: 400},
	{name: "bytes beyond ASCII in the target", method: "GET", path: "/\xff", first: 400, next: true},
	{name: "CR LF escaped in the target", method: "GET", path: "/a%0d%0aX:b", first: 200, next: true},
	{name: "target of 40 KiB", method: "GET", path: "/" + strings.Repeat("x", 40<<10), first: 431},

	// Host.
	{name: "no Host", method: "GET", edit: line("Host: ", ""), first: 400},
	{name: "empty Host", method: "GET", edit: line("Host: ", "Host:\r\n"), first: 400, but: map[string]int{"proxy": 200}, next: true},
	{name: "Host twice", method: "GET", lines: "Host: evil.example.net", first: 400},
	{name: "Host twice, equal", method: "GET", edit: func(h string) string {
		i := strings.Index(h, "Host: ")
		j := i + strings.Index(h[i:], "\r\n") + 2
		return h[:j] + h[i:j] + h[j:]
	}, first: 400},
	{name: "Host with user information", method: "GET", edit: line("Host: ", "Host: localhost@evil.example.net\r\n"), first: 400},
	{name: "Host with a path", method: "GET", edit: line("Host: ", "Host: localhost/evil\r\n"), first: 400},
	{name: "Host with a blank", method: "GET", edit: line("Host: ", "Host: localhost evil\r\n"), first: 400},
	{name: "Host of another", method: "GET", edit: line("Host: ", "Host: evil.example.net\r\n"), first: 400, but: map[string]int{"proxy": 200}, next: true},
	{name: "absolute form of another", method: "GET", edit: func(h string) string {
		method, rest, _ := strings.Cut(h, " ")
		_, rest, _ = strings.Cut(rest, " ")
		return method + " http://evil.example.net/ " + rest
	}, first: 403, but: map[string]int{"gateway": 407, "route": 400, "tunnel": 400}, next: true},
	{name: "user information in the target", method: "GET", edit: start("http://", "http://user:pass@"), first: 400, but: map[string]int{"gateway": 200, "route": 200, "tunnel": 200}, next: true},

	// Other protocols.
	{name: "CONNECT within", method: "CONNECT", edit: authority, first: 400, but: map[string]int{"proxy": 501, "gateway": 407}, body: "{smuggled}"},
	{name: "Upgrade: h2c", method: "GET", lines: "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", first: 200, next: true},
	{name: "Upgrade: h2c without being nominated", method: "GET", lines: "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", first: 200, next: true},
	{name: "Upgrade: h2c with a body", lines: "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Length: 24", body: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", first: 200, next: true, kept: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	{name: "Upgrade: websocket", method: "GET", lines: "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", first: 200, next: true},
	{name: "Upgrade: TLS/1.0", method: "GET", lines: "Connection: Upgrade\r\nUpgrade: TLS/1.0", first: 200, next: true},

	// Bodies where nobody reads one, or too late.
	{name: "GET with a body", method: "GET", lines: "Content-Length: 3", body: "abc", first: 200, next: true, kept: "abc"},
	{name: "GET with a request as its body", method: "GET", lines: "Content-Length: {len}", body: "{smuggled}", first: 200, next: true},
	{name: "HEAD", method: "HEAD", first: 200, next: true},
	{name: "Expect: 100-continue", lines: "Expect: 100-continue\r\nContent-Length: 3", body: "abc", first: 200, next: true, kept: "abc"},
	{name: "Expect: 100-continue, refused", lines: "Expect: 100-continue\r\nContent-Length: {len}\r\nKeybearer-Acting-User: x\r\nKeybearer-Acting-User: y", body: "{smuggled}", first: 400},
	{name: "Expect: something else", lines: "Expect: 200-maybe\r\nContent-Length: 3", body: "abc", first: 417},
	{name: "Expect with its name folded", lines: "Expect:\r\n 100-continue\r\nContent-Length: 3", body: "abc", first: 200, next: true, kept: "abc"},
	{name: "refused with a body that is a request", lines: "Keybearer-Credential: docs/a,docs/b\r\nContent-Length: {len}", body: "{smuggled}", first: 400},
	{name: "refused with a chunked body that is a request", lines: "Keybearer-Credential: docs/a,docs/b\r\n" + chunked, body: "5\r\nabcde\r\n" + half, first: 400},
	{name: "from a web page", method: "GET", lines: "Origin: https://evil.example.net", first: 400, next: true},
}

func asterisk(h string) string {
	method, rest, _ := strings.Cut(h, " ")
	_, rest, _ = strings.Cut(rest, " ")
	return method + " * " + rest
}

func authority(h string) string {
	method, rest, _ := strings.Cut(h, " ")
	_, rest, _ = strings.Cut(rest, " ")
	return method + " evil.example.net:443 " + rest
}
