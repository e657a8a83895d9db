// Package process shuts the process's own memory off from others: no core dump, no debugger or /proc reader of the same user, no
// privileges gained by what it starts, and no swapping where the system allows that. It reports what holds.
//
// It does what can be done for a process as a whole, and knows nothing of keys or requests. It cannot keep root out, nor what can read all
// memory of the machine.
//
// Only on Linux is anything done; elsewhere the report says so.
package process

// State is what holds for this process.
type State struct {
	Supported bool // false: nothing is known of this system, and the rest is meaningless

	Dumpable      bool   // others of the same user can read the memory, and a crash makes a core dump
	CoreLimit     uint64 // bytes that a core dump may have; NoLimit: any
	NoNewPrivs    bool   // what it starts cannot gain privileges, by all threads
	MemoryLocked  uint64 // bytes that are not swapped out
	MemoryLimit   uint64 // bytes that may be locked; NoLimit: any
	LockedOnFault bool   // all memory, from its first use
	Swap          bool   // the machine has some
}

// NoLimit is the limit of what has none.
const NoLimit = ^uint64(0)
