package admin

import (
	"context"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func wireOperator(o custody.Operator) Operator {
	return Operator{
		ID: o.ID, Name: o.Name, Description: o.Description, Groups: o.Groups, Roles: o.Roles, Tokens: wireTokens(o.Tokens), Disabled: o.Disabled,
		CreatedAt: o.CreatedAt, UpdatedAt: o.UpdatedAt, DeletedAt: o.DeletedAt, Revision: o.Revision,
	}
}

func operatorReply(o custody.Operator, err error) (*reply, error) {
	return &reply{revision: o.Revision, body: wireOperator(o)}, err
}

func issuedOperator(o custody.Operator, token keybearer.Secret, err error) (*reply, error) {
	return &reply{revision: o.Revision, body: IssuedOperator{wireOperator(o), Plaintext{token}}}, err
}

func listOperators(x *exchange) (*reply, error) {
	q, err := x.listing()
	if err != nil {
		return nil, err
	}
	page, err := x.custody.Operators(x.Context(), x.ask, q)
	return pageReply(page, wireOperator, err)
}

func showOperator(x *exchange) (*reply, error) {
	return operatorReply(x.custody.Operator(x.Context(), x.ask, x.PathValue("name")))
}

func createOperator(x *exchange, n NewOperator) (*reply, error) {
	return issuedOperator(x.custody.CreateOperator(x.Context(), x.ask, custody.NewOperator(n)))
}

func editOperator(x *exchange, p OperatorPatch) (*reply, error) {
	return operatorReply(x.custody.EditOperator(x.Context(), x.ask, x.PathValue("name"), p.Description, p.Groups, p.Roles))
}

// operatorVerb is one of the operations that take an operator and nothing else.
func operatorVerb(do func(*custody.Custody, context.Context, custody.Ask, string) (custody.Operator, error)) handling {
	return bare(func(x *exchange) (*reply, error) {
		return operatorReply(do(x.custody, x.Context(), x.ask, x.PathValue("name")))
	})
}

func newOperatorToken(x *exchange, n NewToken) (*reply, error) {
	overlap, err := n.overlap()
	if err != nil {
		return nil, err
	}
	return issuedOperator(x.custody.RotateOperatorToken(x.Context(), x.ask, x.PathValue("name"), n.ExpiresAt, overlap))
}

func revokeOperatorTokens(x *exchange) (*reply, error) {
	return operatorReply(x.custody.RevokeOperatorToken(x.Context(), x.ask, x.PathValue("name"), x.PathValue("token")))
}
