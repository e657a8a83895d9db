package custody

import (
	"context"

	"github.com/keybearer/keybearer"
)

// OfferSetUp permits a link with which the first operator is made, and audits that there is one. It returns [keybearer.Conflict] once there is a live
// operator.
func (c *Custody) OfferSetUp(ctx context.Context, ask Ask) error {
	p, err := c.authorise(ask, OperatorSetUpLink, target{})
	if err != nil {
		return err
	}
	if err := c.noOperators(ctx); err != nil {
		return err
	}
	e := p.event(keybearer.ChangeEvent)
	return c.auditor.Record(ctx, &e)
}

// SetUp makes the first operator, an instance admin, for whoever holds the link, and its token. id is the request's. It returns [keybearer.Conflict] once there is
// a live operator, and otherwise what CreateOperator returns.
func (c *Custody) SetUp(ctx context.Context, id, name string) (Operator, keybearer.Secret, error) {
	if err := c.auditor.Ready(); err != nil {
		return Operator{}, keybearer.Secret{}, keybearer.NewError(keybearer.AuditUnavailable, "the audit log cannot be written, so nothing is changed").Wrap(err)
	}
	unlock, err := c.locks.lock(ctx, string(OperatorSetUp)) // so that of two only one finds nobody
	if err != nil {
		return Operator{}, keybearer.Secret{}, err
	}
	defer unlock()
	if err := c.noOperators(ctx); err != nil {
		return Operator{}, keybearer.Secret{}, err
	}
	o, token, err := c.newOperator(ctx, NewOperator{Name: name, Roles: []string{keybearer.RoleInstanceAdmin}})
	if err != nil {
		return Operator{}, keybearer.Secret{}, err
	}
	p := c.system(OperatorSetUp, target{})
	p.ask.ID = id
	if o.Revision, err = p.commit(ctx, []string{operatorField(o, "operator")}, keybearer.Write{Operator: o}); err != nil {
		return Operator{}, keybearer.Secret{}, err
	}
	v, err := c.viewOperator(ctx, o)
	return v, token, err
}

func (c *Custody) noOperators(ctx context.Context) error {
	q := keybearer.Query{Limit: 100}
	for {
		page, err := c.store.Operators(ctx, q)
		if err != nil {
			return keybearer.AsError(err)
		}
		for _, o := range page.Items {
			if o.Live() {
				return keybearer.NewError(keybearer.Conflict, "there is an operator already").
					WithHint("make another one with keybearer operator create, or a new token with keybearer operator token add")
			}
		}
		if page.Next == "" {
			return nil
		}
		q.Cursor = page.Next
	}
}
