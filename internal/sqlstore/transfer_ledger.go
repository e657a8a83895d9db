package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// ledgerTables are those of the ledger: text columns, then numbers, of which the first so many make the key.
var ledgerTables = []struct {
	name           string
	texts, numbers []string
	key            []string
}{
	{"usage", []string{"credential_id", "last_caller", "last_user", "last_host"}, []string{"uses", "refused", "last_at", "last_status"}, []string{"credential_id"}},
	{"usage_callers", []string{"credential_id", "caller", "last_host"}, []string{"uses", "last_at"}, []string{"credential_id", "caller"}},
	{"last_uses", []string{"subject"}, []string{"at"}, []string{"subject"}},
	{"usage_hours", []string{"credential_id"}, []string{"hour", "uses", "refused", "failed"}, []string{"credential_id", "hour"}},
	{"refusals", []string{"credential_id", "code"}, []string{"hour", "refused"}, []string{"credential_id", "hour", "code"}},
	{"trials", []string{"trial", "host", "code"}, []string{"uses", "last_at"}, []string{"trial", "host", "code"}},
}

// Ledger copies all that is known of uses. Nobody may record uses from before it until the other store is in use.
func (t *Transfer) Ledger(ctx context.Context) error {
	for _, table := range ledgerTables {
		if err := t.to.write(ctx, "empty the ledger", func(x *transaction) error { return x.exec(`DELETE FROM ` + table.name) }); err != nil {
			return err
		}
		if err := t.copyTable(ctx, table.name, table.texts, table.numbers, table.key); err != nil {
			return err
		}
	}
	at, err := t.from.Checkpoint(ctx)
	if err != nil {
		return err
	}
	return t.to.RecordUses(ctx, nil, at)
}

// copyTable copies the rows of a table, in order of its key.
func (t *Transfer) copyTable(ctx context.Context, name string, texts, numbers, key []string) error {
	columns := slices.Concat(texts, numbers)
	list, marks := strings.Join(columns, ", "), repeated("?", len(columns))
	from := ``
	var last []any
	for {
		var rows [][]any
		query := `SELECT ` + list + ` FROM ` + name + from + ` ORDER BY ` + strings.Join(key, ", ") + ` LIMIT ` + fmt.Sprint(transferPage)
		err := t.from.reads.each(ctx, query, last, func(r *sql.Rows) error {
			s, n := make([]string, len(texts)), make([]int64, len(numbers))
			var dest, values []any
			for i := range s {
				dest = append(dest, &s[i])
			}
			for i := range n {
				dest = append(dest, &n[i])
			}
			if err := r.Scan(dest...); err != nil {
				return err
			}
			for _, v := range s {
				values = append(values, v)
			}
			for _, v := range n {
				values = append(values, v)
			}
			rows = append(rows, values)
			return nil
		})
		if err != nil {
			return t.from.engine.fail("read the ledger", err)
		}
		if len(rows) == 0 {
			return nil
		}
		err = t.to.write(ctx, "copy the ledger", func(x *transaction) error {
			return x.exec(`INSERT INTO `+name+` (`+list+`) VALUES `+repeated(`(`+marks+`)`, len(rows)), slices.Concat(rows...)...)
		})
		if err != nil {
			return err
		}
		last = nil
		for _, column := range key {
			last = append(last, rows[len(rows)-1][slices.Index(columns, column)])
		}
		from = ` WHERE (` + strings.Join(key, ", ") + `) > (` + repeated(`?`, len(key)) + `)`
	}
}

func repeated(item string, n int) string { return item + strings.Repeat(", "+item, n-1) }
