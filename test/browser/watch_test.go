package browser

import "testing"

func TestTheOverviewAndTheAuditLogTellWhatHappens(t *testing.T) {
	newWorld(t).play("watch", nil, nil)
}
