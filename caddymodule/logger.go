package caddymodule

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// handoff is a slog handler whose records go where the newest configuration says. Parts that outlive the configuration that
// opened them log through it: that one's own handler writes to outputs that are closed by then.
type handoff struct {
	to   *atomic.Pointer[slog.Handler]
	with func(slog.Handler) slog.Handler // attributes and groups; nil: none
}

func newHandoff(l *slog.Logger) handoff {
	h := handoff{to: new(atomic.Pointer[slog.Handler])}
	h.change(l)
	return h
}

func (h handoff) logger() *slog.Logger { return slog.New(h) }

func (h handoff) change(l *slog.Logger) { h.to.Store(new(l.Handler())) }

func (h handoff) current() slog.Handler {
	to := *h.to.Load()
	if h.with != nil {
		to = h.with(to)
	}
	return to
}

func (h handoff) derive(f func(slog.Handler) slog.Handler) slog.Handler {
	before := h.with
	return handoff{h.to, func(to slog.Handler) slog.Handler {
		if before != nil {
			to = before(to)
		}
		return f(to)
	}}
}

// Enabled implements [slog.Handler].
func (h handoff) Enabled(ctx context.Context, level slog.Level) bool {
	return (*h.to.Load()).Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h handoff) Handle(ctx context.Context, r slog.Record) error { return h.current().Handle(ctx, r) }

// WithAttrs implements [slog.Handler].
func (h handoff) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.derive(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (h handoff) WithGroup(name string) slog.Handler {
	return h.derive(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}
