package main

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// run is the benchmark as the harness sees it: a [harness.TB].
type run struct {
	ctx      context.Context
	failed   bool
	cleanups []func()
}

// fatal is what Fatalf panics with, for end to catch.
type fatal struct{ error }

func newBench(ctx context.Context) *run { return &run{ctx: ctx} }

// end stops all that was started and turns a Fatalf into an error. It is to be deferred.
func (r *run) end(err *error) {
	if p := recover(); p != nil {
		f, ok := p.(fatal)
		if !ok {
			panic(p)
		}
		*err = f.error
	}
	r.failed = r.failed || *err != nil
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

func (r *run) Helper()                      {}
func (r *run) Name() string                 { return "bench" }
func (r *run) Context() context.Context     { return r.ctx }
func (r *run) Cleanup(f func())             { r.cleanups = append(r.cleanups, f) }
func (r *run) Failed() bool                 { return r.failed }
func (r *run) Logf(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) }

func (r *run) Errorf(format string, a ...any) {
	r.failed = true
	r.Logf(format, a...)
}

func (r *run) Fatalf(format string, a ...any) { panic(fatal{fmt.Errorf(format, a...)}) }
