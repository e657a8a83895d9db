package caddymodule

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// What was derived from a logger before the change follows it too.
func TestHandoff(t *testing.T) {
	var first, second bytes.Buffer
	h := newHandoff(slog.New(slog.NewTextHandler(&first, nil)))
	l := slog.New(h).With("part", "store").WithGroup("open").With("n", 1)
	l.Info("one")
	h.change(slog.New(slog.NewTextHandler(&second, &slog.HandlerOptions{Level: slog.LevelWarn})))
	l.Info("below the new level")
	l.Warn("two", "m", 2)
	if got := first.String(); !strings.Contains(got, "msg=one part=store open.n=1") || strings.Count(got, "\n") != 1 {
		t.Errorf("first: %s", got)
	}
	if got := second.String(); !strings.Contains(got, "msg=two part=store open.n=1 open.m=2") || strings.Count(got, "\n") != 1 {
		t.Errorf("second: %s", got)
	}
}
