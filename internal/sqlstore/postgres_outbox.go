package sqlstore

import (
	"context"

	"github.com/keybearer/keybearer"
)

// Events returns up to limit events of this node that are not marked as delivered, in order of commit. Before that it takes over those that
// another node has not delivered for a minute, if there are any.
func (p *Postgres) Events(ctx context.Context, limit int) ([]keybearer.PendingEvent, error) {
	const abandoned = `node <> ? AND since < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 60000000`
	var n int
	err := p.reads.row(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM events WHERE `+abandoned+` LIMIT 1) AS found`, []any{p.node}, &n)
	if err != nil {
		return nil, p.engine.fail("read the outbox", err)
	}
	if n > 0 {
		// Of several nodes that do this at once, each gets what the others do not. That it fails concerns none of our own events.
		_ = p.write(ctx, "take over events", func(t *transaction) error {
			return t.exec(`UPDATE events SET node = ?, since = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint WHERE number IN
				(SELECT number FROM events WHERE `+abandoned+` ORDER BY number LIMIT ? FOR UPDATE SKIP LOCKED)`, p.node, p.node, max(limit, 1))
		})
	}
	return p.Store.Events(ctx, limit)
}
