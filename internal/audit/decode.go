package audit

import (
	"encoding/json"

	"github.com/keybearer/keybearer"
)

// ParseEvent reads one line of the log. Unknown keys are ignored. It returns [keybearer.Invalid] for a line that is not an event.
func ParseEvent(line []byte) (keybearer.Event, error) {
	var e keybearer.Event
	if err := json.Unmarshal(line, &e); err != nil {
		return keybearer.Event{}, keybearer.NewError(keybearer.Invalid, "the line is not an audit event").Wrap(err)
	}
	return e, nil
}
