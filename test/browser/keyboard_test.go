package browser

import "testing"

func TestTheKeyboardReachesEverything(t *testing.T) {
	newWorld(t).play("keyboard", nil, nil)
}
