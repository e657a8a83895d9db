package sqlstore

import (
	"context"

	"github.com/keybearer/keybearer"
)

// Diagnose looks at the database.
func (p *Postgres) Diagnose(ctx context.Context) []keybearer.Finding { return nil }
