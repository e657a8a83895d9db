package caddymodule

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/metrics"
)

// meter counts for the whole process: each configuration puts it on a registry of its own, and what was counted outlives them all.
var meter = sync.OnceValue(func() *metrics.Meter {
	return metrics.New(version())
})

// version returns that of the build, or of this module in somebody else's.
func version() string {
	if caddy.CustomVersion != "" { // set by the linker
		return caddy.CustomVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == "github.com/keybearer/keybearer" && m.Version != "" {
			return m.Version
		}
	}
	return "unknown"
}

// tellMeter has the meter ask this engine what is measured when somebody looks.
func (e *engine) tellMeter() {
	c := e.core
	source := &metrics.Source{Credentials: c.count, Parts: e.working}
	if log, ok := c.auditor.(*audit.Log); ok {
		source.Audit = func() (int, uint64) { return log.QueueLen(), log.Dropped() }
	}
	if f, ok := c.store.(keybearer.Follower); ok {
		source.FeedLag = func() time.Duration { return max(0, time.Since(f.Current())) }
	}
	stop := meter().Follow(source)
	e.add(func() error { stop(); return nil })
}

func (c *core) count(ctx context.Context) ([]metrics.Count, error) {
	counts, err := c.custody.Count(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]metrics.Count, 0, 5*len(counts))
	for _, n := range counts {
		out = append(
			out,
			metrics.Count{Scope: n.Scope, State: keybearer.Active, N: n.Active},
			metrics.Count{Scope: n.Scope, State: keybearer.Disabled, N: n.Disabled},
			metrics.Count{Scope: n.Scope, State: keybearer.Expired, N: n.Expired},
			metrics.Count{Scope: n.Scope, State: keybearer.NeedsSecret, N: n.NeedsSecret},
			metrics.Count{Scope: n.Scope, State: metrics.Expiring, N: n.Expiring},
		)
	}
	return out, nil
}
