package abuse

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// Each attack in each way at each server: the answer is the one in the table; what arrives carries exactly one credential, in its
// place; nothing arrives that was only the inside of something else; each answer belongs to its request, on the attacker's connection
// and on the next one, which shares the connections to the destination with it.
func TestEveryAttackAtEveryServer(t *testing.T) {
	l := newLab(t)
	cases := 0
	for i := range corpus {
		a := &corpus[i]
		t.Run(a.name, func(t *testing.T) {
			for w := range ways {
				for _, d := range l.destinations {
					cases++
					l.attack(t, a, &ways[w], d, fmt.Sprintf("%d-%s-%s", i, ways[w].name, d.name))
				}
			}
		})
	}
	t.Attr("cases", strconv.Itoa(cases))
}

func (l *lab) attack(t *testing.T, a *attack, w *way, d *destination, id string) {
	t.Helper()
	method, path := cmp.Or(a.method, "POST"), cmp.Or(a.path, "/attack")
	head := w.start(l, d, method, path) + harness.IDHeader + ": " + id + "\r\n"
	if a.edit != nil {
		head = a.edit(head)
	}
	body := strings.ReplaceAll(a.body, "{smuggled}", w.request(l, d, id+"-smuggled", "GET", "/smuggled"))
	lines := strings.ReplaceAll(a.lines, "{len}", strconv.Itoa(len(body)))
	if lines != "" {
		lines += "\r\n"
	}
	c := l.open(t, w, d)
	defer c.conn.Close()
	go func() { // an answer may come before all is sent, and a closed connection ends this
		_, _ = io.WriteString(c.conn, head+lines+"\r\n"+body+w.request(l, d, id+"-next", "GET", "/next"))
	}()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s at %s: %s", w.name, d.name, fmt.Sprintf(format, args...))
	}
	for _, m := range []string{method, "GET", "GET"} {
		more, err := c.read(m)
		if err != nil {
			fail("after %d answers: %v", len(c.answers), err)
			return
		}
		if !more || len(c.answers) == 2 && c.answers[1].Header.Get(harness.IDHeader) == id+"-next" {
			break
		}
	}

	want, special := a.but[w.name]
	if !special {
		want = a.first
	}
	l.judge(fail, c, a, id, want)
	l.victim(t, w, d, id)
}

// judge says what must hold of a conversation, whatever the attack was.
func (l *lab) judge(fail func(string, ...any), c *conversation, a *attack, id string, want int) {
	if want == 0 {
		if len(c.answers) > 0 {
			fail("answered %d instead of closing", c.answers[0].StatusCode)
		}
	} else if len(c.answers) == 0 || c.answers[0].StatusCode != want {
		fail("%d answers, first %v; not %d", len(c.answers), c.statuses(), want)
	}
	if next := len(c.answers) == 2 && c.answers[1].Header.Get(harness.IDHeader) == id+"-next"; next != a.next {
		fail("the honest request behind it was served: %v, not %v (%v, closed %v)", next, a.next, c.statuses(), c.closed)
	}
	// Who was answered by the destination, and only they, arrived there.
	var served []string
	for i, answer := range c.answers {
		if answer.refused() || answer.StatusCode != 200 {
			continue
		}
		got := answer.Header.Get(harness.IDHeader)
		served = append(served, got)
		if wantID := map[int]string{0: id, 1: id + "-next"}[i]; got != wantID {
			fail("answer %d is that of %q", i+1, got)
		}
	}
	var arrived []string
	for _, r := range c.d.fresh() {
		arrived = append(arrived, r.ID())
		if err := l.Misdeed(r, c.way.credential); err != nil {
			fail("%s %s arrived with %v", r.Method, r.Target, err)
		}
		if strings.Contains(r.Target, "smuggled") || strings.Contains(r.ID(), "smuggled") {
			fail("the smuggled request arrived")
		}
		if r.ID() == id && a.kept != "" && string(r.Body) != a.kept {
			fail("the body arrived as %q", r.Body)
		}
		for _, passed := range a.passed {
			name, value, _ := strings.Cut(passed, ": ")
			if r.ID() == id && !slices.Equal(r.Values(name), []string{value}) {
				fail("%s arrived as %q", name, r.Values(name))
			}
		}
	}
	if !slices.Equal(arrived, served) {
		fail("arrived %q, answered %q", arrived, served)
	}
}

func (c *conversation) statuses() (all []string) {
	for _, a := range c.answers {
		all = append(all, a.Status+" "+a.Header.Get("Proxy-Status")+" "+a.body[:min(len(a.body), 200)])
	}
	return all
}

// victim is an honest client on a connection of its own.
func (l *lab) victim(t *testing.T, w *way, d *destination, id string) {
	t.Helper()
	c := l.open(t, w, d)
	defer c.conn.Close()
	id += "-victim"
	if _, err := io.WriteString(c.conn, w.request(l, d, id, "GET", "/victim")); err != nil {
		t.Fatal(err)
	}
	if ok, err := c.read("GET"); err != nil || !ok {
		t.Fatalf("the victim got no answer: %v", err)
	}
	a := c.answers[0]
	if a.StatusCode != 200 || a.Header.Get(harness.IDHeader) != id || !strings.HasPrefix(a.body, "GET /victim\n") {
		t.Errorf("%s at %s: the victim got %s", w.name, d.name, c.statuses())
	}
	for _, r := range d.fresh() {
		if r.ID() != id {
			t.Errorf("%s at %s: %s %s arrived late", w.name, d.name, r.Method, r.Target)
		} else if err := l.Misdeed(r, w.credential); err != nil {
			t.Errorf("%s at %s: the victim's request arrived with %v", w.name, d.name, err)
		}
	}
}
