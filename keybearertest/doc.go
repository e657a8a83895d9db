// Package keybearertest holds the conformance suites of Keybearer's extension points. Every implementation runs them, ours and
// others': what they check is what the rest of Keybearer relies on, sentence by sentence.
//
// An author of a store writes
//
//	func TestStore(t *testing.T) {
//		keybearertest.TestStore(t, func(t *testing.T) keybearer.Store {
//			s, err := mystore.Open(t.Context(), …)
//			if err != nil {
//				t.Fatal(err)
//			}
//			t.Cleanup(func() { s.Close() })
//			return s
//		})
//	}
//
// and likewise [TestLedger] when it keeps the usage ledger too, [TestSpender] when it remembers what may be used one time, and [TestFleet] when several processes may share it. Each suite calls open many times, once for each of its
// parts, which run one after the other. Each call must return a store of its own that is empty, and is to be closed
// when the test that it was given ends. Run them with -race.
//
// The suites cannot see what only the implementation knows: that an acknowledged commit survives a crash, that a full
// disk loses nothing, that one who was cut off knows it. Test these beside them.
package keybearertest
