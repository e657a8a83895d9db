package admin

import (
	"net/http"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func (h *handler) operatorRoutes() {
	const all, one = "/api/v1/operators", "/api/v1/operators/{name}"
	h.route("GET "+all, listOperators)
	h.route("POST "+all, createOperator)
	h.route("GET "+one, showOperator)
	h.route("PATCH "+one, editOperator)
	h.route("DELETE "+one, deleteOperator)
	h.route("POST "+one, operatorVerb) // {name}:{disable|enable}
	h.route("POST "+one+"/tokens", newOperatorToken)
	h.route("DELETE "+one+"/tokens", revokeOperatorTokens)
	h.route("DELETE "+one+"/tokens/{token}", revokeOperatorTokens)
}

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
	return &reply{status: http.StatusCreated, revision: o.Revision, body: IssuedOperator{wireOperator(o), Plaintext{token}}}, err
}

func listOperators(x *exchange) (*reply, error) {
	q, err := x.query()
	if err != nil {
		return nil, err
	}
	page, err := x.custody.Operators(x.Context(), x.ask, q)
	return pageReply(page, wireOperator, err)
}

func showOperator(x *exchange) (*reply, error) {
	return operatorReply(x.custody.Operator(x.Context(), x.ask, x.PathValue("name")))
}

func createOperator(x *exchange) (*reply, error) {
	n, err := decode[NewOperator](x)
	if err != nil {
		return nil, err
	}
	return issuedOperator(x.custody.CreateOperator(x.Context(), x.ask, custody.NewOperator(n)))
}

func editOperator(x *exchange) (*reply, error) {
	p, err := changing[OperatorPatch](x)
	if err != nil {
		return nil, err
	}
	return operatorReply(x.custody.EditOperator(x.Context(), x.ask, x.PathValue("name"), p.Description, p.Groups, p.Roles))
}

func deleteOperator(x *exchange) (*reply, error) {
	if err := x.bare(); err != nil {
		return nil, err
	}
	return operatorReply(x.custody.DeleteOperator(x.Context(), x.ask, x.PathValue("name")))
}

func operatorVerb(x *exchange) (*reply, error) {
	name, verb := x.verb("name")
	do := x.custody.DisableOperator
	switch verb {
	case "disable":
	case "enable":
		do = x.custody.EnableOperator
	default:
		return noOperation(x)
	}
	if err := x.bare(); err != nil {
		return nil, err
	}
	return operatorReply(do(x.Context(), x.ask, name))
}

func newOperatorToken(x *exchange) (*reply, error) {
	expires, overlap, err := tokenTerms(x)
	if err != nil {
		return nil, err
	}
	return issuedOperator(x.custody.RotateOperatorToken(x.Context(), x.ask, x.PathValue("name"), expires, overlap))
}

func revokeOperatorTokens(x *exchange) (*reply, error) {
	if err := x.bare(); err != nil {
		return nil, err
	}
	return operatorReply(x.custody.RevokeOperatorToken(x.Context(), x.ask, x.PathValue("name"), x.PathValue("token")))
}
