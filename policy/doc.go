// Package policy decides whether a caller may use a credential for a destination.
//
// It is pure: no clock, no network, no logging, no state. [ParseAbsolute], [ParseAuthority] and [ParseOrigin] make a
// destination canonical from the raw bytes of a request, [ParseRule] does so for the rules that credentials carry, and both
// go through the one function in host.go, so that a rule and a request can never mean different hosts by the same
// text. [Decide] judges one request against one immutable [Snapshot]; [Admit] is the part of it that concerns rules
// alone, and is used again on the terms inside an opened secret. [Explain] says the same in sentences. [Widens]
// compares what two sets of terms admit.
//
// It refuses to know how a caller proved who it is, where records come from, and which addresses a name has: of those it
// is told only what they amount to, as a [Reach].
//
// All functions are safe for concurrent use and modify nothing that they are given. Zero values deny.
package policy
