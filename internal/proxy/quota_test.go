package proxy

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// A host stands in the first line of its request, and is not to keep that whole: it may be as long as a head, and its query is the app's own.
func TestAQuotaKeepsNoRequest(t *testing.T) {
	l := newLimits(keybearer.Limits{Rate: keybearer.Unlimited}, 1)
	before := heap()
	for i := range 64 {
		line := fmt.Sprintf("http://%03d.example.com/?", i) + strings.Repeat("q", 256<<10)
		if err := l.enter(&place{}, &keybearer.Caller{ID: "cal"}, "scp", &policy.Destination{Host: line[7:22], Port: 443}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("%d KiB are kept for %d quotas", grown>>10, len(l.quotas))
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
