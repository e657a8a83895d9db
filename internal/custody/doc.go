// Package custody is what the operations mean: making, changing, granting, rotating and destroying, over a store, a keyring and
// an audit log. It knows no wire; package admin and the console call it.
//
// Who asks is an explicit [Ask] in every call. One path serves all: authorise looks the action up in one table of needs and gives
// a permit or a refusal, which is audited; nothing is written without a permit, and a change is committed together with its one
// audit event. When the audit log cannot be written, nothing changes.
//
// Custody seals and rewraps and never opens: a secret that was given cannot come back out of it. What may widen
// where a secret goes needs the secret again (CONTRACT section 7), because the terms are sealed with it.
//
// Records are changed by compare-and-swap. Two further rules make that enough when several servers share a store: whatever is
// sealed is committed together with the scope's row, so that it never lands behind a regenerate; and a keyring key
// is destroyed only after a commit that puts its name beyond use.
package custody
