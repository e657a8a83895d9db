package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
)

// row and each let nobody wait who can know that the database is away, and answer within readTimeout. The driver keeps the
// statements that it has prepared with each connection.

func (e *postgresEngine) row(ctx context.Context, text string, args []any, dest ...any) error {
	return e.read(ctx, func(ctx context.Context) (bool, error) {
		err := e.reads.QueryRowContext(ctx, bind(text), args...).Scan(dest...)
		return err == nil, err
	})
}

func (e *postgresEngine) each(ctx context.Context, text string, args []any, scan func(*sql.Rows) error) error {
	return e.read(ctx, func(ctx context.Context) (begun bool, err error) {
		rows, err := e.reads.QueryContext(ctx, bind(text), args...)
		if err != nil {
			return false, err
		}
		defer rows.Close()
		for rows.Next() {
			begun = true
			if err := scan(rows); err != nil {
				return begun, err
			}
		}
		return begun, rows.Err()
	})
}

// read runs a query, and once more when it met a connection that had ended while nobody used it. begun says that rows have been taken
// already. It asks nothing while the feed has found a standby where the primary should be: what that says is out of date.
func (e *postgresEngine) read(ctx context.Context, query func(context.Context) (begun bool, err error)) error {
	if e.feed != nil && e.feed.standby.Load() {
		return errStandby
	}
	return e.breaker.Do(ctx, func(ctx context.Context) error {
		bounded, cancel := context.WithTimeoutCause(ctx, readTimeout, errStalled)
		defer cancel()
		begun, err := query(bounded)
		if !begun && lost(err) && bounded.Err() == nil {
			e.renew()
			_, err = query(bounded)
		}
		return stalled(bounded, err)
	})
}

// stalled is err, or that the database did not answer in time when that is why ctx has ended, or a shorter time of the driver's.
func stalled(ctx context.Context, err error) error {
	if err != nil && (context.Cause(ctx) == errStalled || ended(err) && ctx.Err() == nil) {
		return fmt.Errorf("%w: %v", errStalled, err)
	}
	return err
}
