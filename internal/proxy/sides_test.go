package proxy

import (
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/scrub"
)

// script is when and how what an end of a WebSocket sends ends, and what writing to it fails with.
type script struct {
	after   time.Duration
	err     error // nil: it ends in order
	refuses error // nil: it takes all
}

// peer is one end of a WebSocket that keeps to a script.
type peer struct {
	script
	text string
	half bool // it can be told that no more comes

	mu     sync.Mutex
	got    strings.Builder
	sent   bool
	closed chan struct{}
	told   bool
	once   sync.Once
}

func (p *peer) Read(b []byte) (int, error) {
	if !p.sent {
		p.sent = true
		return copy(b, p.text), nil
	}
	select {
	case <-time.After(p.after):
		if p.err == nil {
			return 0, io.EOF
		}
		return 0, p.err
	case <-p.closed:
		return 0, errors.New("closed")
	}
}

func (p *peer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses != nil {
		return 1, p.refuses
	}
	return p.got.Write(b)
}

// whole is a peer of which one half can be closed.
type whole struct{ *peer }

func (w whole) CloseWrite() error { w.told = true; return nil }

func (p *peer) side() *side {
	p.closed = make(chan struct{})
	s := &side{p, p, func() error { p.once.Do(func() { close(p.closed) }); return nil }}
	if p.half {
		s.Writer = whole{p}
	}
	return s
}

func (p *peer) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

func TestHowAWebSocketEnds(t *testing.T) {
	const never = time.Hour
	reset := errors.New("reset")
	for _, c := range []struct {
		name             string
		app, destination script
		code             keybearer.Code
		took             time.Duration
		told             [2]bool // app, destination: that no more comes
	}{
		{"the destination, then the app", script{after: 2 * time.Second}, script{after: time.Second}, "", 2 * time.Second, [2]bool{true, false}},
		{"the destination, and the app does not", script{after: never}, script{after: time.Second}, "", time.Second + closing, [2]bool{true, false}},
		{"the destination late, and the app does not", script{after: never}, script{after: 4 * closing}, "", 5 * closing, [2]bool{true, false}},
		{"the destination breaks off", script{after: never}, script{after: time.Second, err: reset}, keybearer.DestinationUnreachable, time.Second, [2]bool{}},
		{"the destination sends no frames", script{after: never}, script{after: time.Second, err: scrub.ErrFrames}, keybearer.DestinationUnreachable, time.Second, [2]bool{}},
		{"the app takes nothing", script{after: never, refuses: reset}, script{after: never}, keybearer.CallerGone, 0, [2]bool{}},
		{"the app, then the destination", script{after: time.Second}, script{after: 2 * time.Second}, "", 2 * time.Second, [2]bool{false, true}},
		{"the app, and the destination does not", script{after: time.Second}, script{after: never}, keybearer.CallerGone, time.Second + closing, [2]bool{false, true}},
		{"the app late, and the destination does not", script{after: 4 * closing}, script{after: never}, keybearer.CallerGone, 5 * closing, [2]bool{false, true}},
		{"the app, then the destination breaks off", script{after: time.Second}, script{after: 2 * time.Second, err: reset}, keybearer.CallerGone, 2 * time.Second, [2]bool{false, true}},
		{"the app breaks off", script{after: time.Second, err: reset}, script{after: never}, keybearer.CallerGone, time.Second, [2]bool{}},
		{"the destination takes nothing, and has its say", script{after: never}, script{after: time.Second, refuses: reset}, "", time.Second, [2]bool{}},
		{"the destination takes nothing, and says nothing", script{after: never}, script{after: never, refuses: reset}, keybearer.DestinationUnreachable, closing, [2]bool{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, half := range []bool{true, false} { // one that cannot be told is closed
				synctest.Test(t, func(t *testing.T) {
					app := &peer{script: c.app, text: "ping", half: half}
					destination := &peer{script: c.destination, text: "ponged", half: half}
					var out, in atomic.Int64
					began := time.Now()
					err := relay(app.side(), destination.side(), &out, &in)
					took := time.Since(began)
					if code := keybearer.CodeOf(asError(err)); half && (code != c.code || took != c.took) || !half && took > c.took {
						t.Errorf("it ended with %q after %v (%v)", code, took, err)
					}
					if !app.isClosed() || !destination.isClosed() {
						t.Error("a side is left open")
					}
					if half && [2]bool{app.told, destination.told} != c.told {
						t.Errorf("told that no more comes: the app %v, the destination %v", app.told, destination.told)
					}
					if c.destination.refuses == nil && (destination.got.String() != "ping" || out.Load() != 4) || c.app.refuses == nil && (app.got.String() != "ponged" || in.Load() != 6) {
						t.Errorf("%q and %q arrived, counted as %d and %d", destination.got.String(), app.got.String(), out.Load(), in.Load())
					}
					if errors.Is(c.destination.err, scrub.ErrFrames) != (err != nil && strings.Contains(err.Detail, "no frames")) {
						t.Errorf("the detail is %v", err)
					}
				})
			}
		})
	}
}

// all gives its text and how it ends at once.
type all struct {
	text string
	err  error
}

func (a all) Read(b []byte) (int, error) { return copy(b, a.text), a.err }

func TestWhatComesWithTheEndIsCopied(t *testing.T) {
	reset := errors.New("reset")
	for _, c := range []struct {
		from all
		to   *peer
		want end
		n    int64
	}{
		{all{"ping", io.EOF}, &peer{}, end{}, 4},
		{all{"ping", reset}, &peer{}, end{read: reset}, 4},
		{all{"", io.EOF}, &peer{script: script{refuses: reset}}, end{}, 0},
		{all{"ping", io.EOF}, &peer{script: script{refuses: reset}}, end{write: reset}, 1},
	} {
		var n atomic.Int64
		if got := pump(c.to, c.from, &n); got != c.want || n.Load() != c.n {
			t.Errorf("%+v: %+v, %d bytes", c.from, got, n.Load())
		}
	}
}
