package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/keybearer/keybearer"
)

var errPermission = fs.ErrPermission

func (q AuditQuery) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"scope": q.Scope, "credential": q.Credential, "caller": q.Caller, "user": q.User, "operator": q.Operator, "host": q.Host, "q": q.Text,
		"id": q.ID, "event": string(q.Kind), "action": q.Action, "decision": q.Decision, "code": string(q.Code), "before": q.Before,
		"since": timeValue(q.Since), "until": timeValue(q.Until),
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Limit != 0 {
		v.Set("limit", limitValue(q.Limit))
	}
	if q.WouldRefuse {
		v.Set("would_refuse", "true")
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	return v
}

func timeValue(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Audit yields events of the audit log, oldest first, and with Follow goes on until the context ends. An error ends it.
func (c *Client) Audit(ctx context.Context, q AuditQuery) iter.Seq2[keybearer.Event, error] {
	return func(yield func(keybearer.Event, error) bool) {
		res, err := c.send(ctx, http.MethodGet, apiPath("audit"), q.values(), nil, "application/jsonl")
		if err != nil {
			yield(keybearer.Event{}, err)
			return
		}
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(make([]byte, 0, 4096), 1<<20)
		for lines.Scan() {
			if len(lines.Bytes()) == 0 {
				continue // keeps the connection alive
			}
			var e keybearer.Event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				yield(e, c.unreachable(err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil && ctx.Err() == nil {
			yield(keybearer.Event{}, c.unreachable(err))
		}
	}
}
