package harness

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
)

//go:embed node.mjs
var nodeDestination []byte

// Node is a TLS destination on Node's own https server. It answers with the request as it saw it, see [Echo].
type Node struct {
	*Process
	Addr netip.AddrPort
	name string
}

// StartNode starts a Node for the host name, on port 443 of an address of its own.
func StartNode(tb TB, ca *CA, name string) *Node {
	tb.Helper()
	n := &Node{name: name, Addr: netip.AddrPortFrom(Address(), 443)}
	dir := Dir(tb)
	script := WriteFile(tb, filepath.Join(dir, "destination.mjs"), nodeDestination)
	n.Process = Start(tb, Command{
		Name: "node-" + name, Path: "node", Dir: dir, Ready: Accepts(n.Addr),
		Args: []string{script, n.Addr.Addr().String(), fmt.Sprint(n.Addr.Port()), ca.Files(tb, name), IDHeader},
	})
	return n
}

// All returns the requests that have arrived so far.
func (n *Node) All(tb TB) []*Arrival {
	tb.Helper()
	var all []*Arrival
	for line := range bytes.Lines([]byte(n.Output(tb))) {
		if !bytes.HasSuffix(line, []byte("\n")) || line[0] != '{' {
			continue // still being written, or a warning
		}
		var seen struct {
			Method, Target, Proto, Host, Body string
			Fields                            []string // names and values by turns
		}
		if err := json.Unmarshal(line, &seen); err != nil {
			tb.Fatalf("line of node %q: %v", line, err)
		}
		a := &Arrival{Destination: n.name, Proto: seen.Proto, Method: seen.Method, Target: seen.Target, Host: seen.Host, Body: []byte(seen.Body)}
		for i := 0; i+1 < len(seen.Fields); i += 2 {
			a.Header = append(a.Header, Field{seen.Fields[i], seen.Fields[i+1]})
		}
		all = append(all, a)
	}
	return all
}

// Echo is an answer that tells the request as it was seen: its line, its fields and its body.
func Echo(a *Arrival) []byte {
	var body bytes.Buffer
	fmt.Fprintf(&body, "%s %s\n", a.Method, a.Target)
	for _, f := range a.Header {
		fmt.Fprintf(&body, "%s: %s\n", f.Name, f.Value)
	}
	fmt.Fprintf(&body, "\n%s", a.Body)
	var answer bytes.Buffer
	fmt.Fprintf(&answer, "HTTP/1.1 200 OK\r\n%s: %s\r\nContent-Length: %d\r\n\r\n", IDHeader, a.ID(), body.Len())
	if a.Method != "HEAD" {
		answer.Write(body.Bytes())
	}
	return answer.Bytes()
}
