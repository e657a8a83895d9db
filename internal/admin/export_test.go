package admin

import "reflect"

// The table of operations, for the tests that describe it and those that exercise it.
type Operation = operation

var Operations = operations

const (
	MustMatch = mustMatch
	MayMatch  = mayMatch
)

type (
	Parameter = parameter
	Decision  = decision
)

// Body is the type of the body that the operation takes; nil: none.
func (op *operation) Body() reflect.Type { return op.Takes.body }
