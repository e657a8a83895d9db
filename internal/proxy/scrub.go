package proxy

import (
	"io"
	"net/http"
	"strings"

	"github.com/keybearer/keybearer"
)

// Of the request, folded: whatever lets the destination answer with bytes in which the secret cannot be looked for. They go where bodies are scrubbed.
var unscrubbable = map[string]bool{
	"accept-encoding": true, "range": true, "if-range": true, "sec-websocket-extensions": true,
}

// Of the answer, folded: what says of the bytes that they are others than come back, where bodies are scrubbed. ETag stays: it names a version,
// and the app needs it as the destination gave it.
var digests = map[string]bool{"content-md5": true, "digest": true, "content-digest": true, "repr-digest": true}

// comesBack reports whether a field of the answer does.
func (p *Pass) comesBack(name string, nominated map[string]bool) bool {
	return keepAnswer(name, nominated) && !p.Names(name) && !(p.filter.scrub && digests[fold(name)])
}

// Plain returns the fields with which the request asks for an answer that can be scrubbed, to be written beside those that Keep leaves; none where
// bodies are not scrubbed.
func (p *Pass) Plain() []Field {
	if !p.filter.scrub {
		return nil
	}
	return []Field{{"Accept-Encoding", "identity"}}
}

// Scrubbable judges an answer before any of it goes back. It is DestinationUnreachable when its body is to be scrubbed and cannot be.
func (p *Pass) Scrubbable(status int, header http.Header, hasBody bool) *keybearer.Error {
	if !p.filter.scrub {
		return nil
	}
	if status == http.StatusPartialContent {
		return keybearer.NewError(keybearer.DestinationUnreachable, "the destination answered with a part that was not asked for, so the secret cannot be taken out").
			WithHint("let the destination answer in whole, or turn scrub_body off")
	}
	for _, value := range header["Content-Encoding"] {
		for coding := range strings.SplitSeq(value, ",") {
			if coding = strings.TrimSpace(coding); hasBody && coding != "" && !strings.EqualFold(coding, "identity") {
				return keybearer.NewError(keybearer.DestinationUnreachable, "the destination compressed its answer although it was asked not to, so the secret cannot be taken out").
					WithHint("let the destination heed Accept-Encoding: identity, or turn scrub_body off")
			}
		}
	}
	return nil
}

// Body returns the answer's body as it goes back: of the same length, and where the credential says so, without the secret.
func (p *Pass) Body(body io.Reader) io.Reader {
	if !p.filter.scrub {
		return body
	}
	return p.needles.Reader(body)
}

// Frames is Body for what the destination sends over a WebSocket.
func (p *Pass) Frames(from io.Reader) io.Reader {
	if !p.filter.scrub {
		return from
	}
	return p.needles.Frames(from)
}
