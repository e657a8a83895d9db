package keybearer

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Code is the stable name of a reason. The list is closed: HTTP status, problem type, CLI exit code and
// metric label all come from it by one table.
type Code string

// The codes of the data path.
const (
	BadRequest             Code = "bad_request"
	TagMissing             Code = "tag_missing"
	TagInvalid             Code = "tag_invalid"
	DestinationInvalid     Code = "destination_invalid"
	CallerUnauthenticated  Code = "caller_unauthenticated"
	CredentialForbidden    Code = "credential_forbidden"
	UserRequired           Code = "user_required"
	DestinationNotAllowed  Code = "destination_not_allowed"
	MethodNotAllowed       Code = "method_not_allowed"
	AddressDenied          Code = "address_denied"
	CredentialDisabled     Code = "credential_disabled"
	CredentialExpired      Code = "credential_expired"
	CredentialNeedsSecret  Code = "credential_needs_secret"
	CredentialDeleted      Code = "credential_deleted"
	RateLimited            Code = "rate_limited"
	TLSTunnelUnsupported   Code = "tls_tunnel_unsupported"
	DestinationUnreachable Code = "destination_unreachable"
	DestinationTLSFailed   Code = "destination_tls_failed"
	DestinationTimeout     Code = "destination_timeout"
	KeyringUnavailable     Code = "keyring_unavailable"
	StoreUnavailable       Code = "store_unavailable"
	AuditUnavailable       Code = "audit_unavailable"
	ScopeRegenerating      Code = "scope_regenerating"
	CallerGone             Code = "caller_gone"
)

// The codes that only operators meet: admin API, console and CLI.
const (
	Invalid              Code = "invalid"
	Unauthenticated      Code = "unauthenticated"
	Forbidden            Code = "forbidden"
	NotFound             Code = "not_found"
	AlreadyExists        Code = "already_exists"
	Conflict             Code = "conflict"
	Stale                Code = "stale"
	PreconditionRequired Code = "precondition_required"
	ScopeKeyMissing      Code = "scope_key_missing"
	ScopeKeyExists       Code = "scope_key_exists"
	ScopeNotEmpty        Code = "scope_not_empty"
	SecretRequired       Code = "secret_required"
	SecretInvalid        Code = "secret_invalid"
	RuleInvalid          Code = "rule_invalid"
	RecentlyUsed         Code = "recently_used"
	ConfirmationRequired Code = "confirmation_required"
	CountMismatch        Code = "count_mismatch"
	NoPreviousVersion    Code = "no_previous_version"
	Internal             Code = "internal"
	ServerUnreachable    Code = "server_unreachable"
)

// Exit codes of the CLI.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitNotFound    = 3
	ExitRefused     = 4
	ExitConflict    = 5
	ExitUnreachable = 6
)

// CodeInfo is what a code means at each edge.
type CodeInfo struct {
	Code   Code
	Status int    // HTTP status; 407 is meant for proxy mode, the other modes answer 401
	Exit   int    // exit code of the CLI
	Title  string // short sentence, the same for every occurrence (RFC 9457 section 3.1.3)
	Hint   string // what to do about it, when the error itself gives no better one
	Proxy  string // error type of RFC 9209 section 2.3
	Retry  bool   // the answer carries Retry-After
	Data   bool   // it can be answered on the data path
}

// codes is the one table. Order is the order of the reference documentation.
var codes = []CodeInfo{
	{BadRequest, 400, ExitUsage, "the request is not one that Keybearer forwards", "send one plain HTTP request with at most one of each Keybearer header", "http_request_error", false, true},
	{TagMissing, 400, ExitUsage, "the request names no credential or no destination", "set Keybearer-Credential: <scope>/<name>, and Keybearer-Destination in gateway mode", "http_request_error", false, true},
	{TagInvalid, 400, ExitUsage, "the request names a credential or a destination in a way that can be read two ways", "name it once, as <scope>/<name>, either in the header or in the proxy URL", "http_request_error", false, true},
	{DestinationInvalid, 400, ExitUsage, "the destination is not a canonical http or https address", "use a lower-case host name without user, fragment or odd spelling", "http_request_error", false, true},
	{CallerUnauthenticated, 407, ExitRefused, "the caller did not prove who it is", "send the caller's token in Proxy-Authorization: Bearer, or as the password in the proxy URL", "http_request_denied", false, true},
	{CredentialForbidden, 403, ExitRefused, "the caller may not use this credential", "ask its owner for a grant: keybearer grant add <scope>/<name> app:<caller> use", "http_request_denied", false, true},
	{UserRequired, 403, ExitRefused, "this credential is used only on behalf of a person", "send a signed Keybearer-Acting-User assertion for someone who holds use", "http_request_denied", false, true},
	{DestinationNotAllowed, 403, ExitRefused, "no rule of the credential admits this destination", "ask its owner to add the host: keybearer domain add <scope>/<name> <host>", "http_request_denied", false, true},
	{MethodNotAllowed, 403, ExitRefused, "the rule for this destination does not admit the method", "use a method that the rule lists, or ask the owner to widen it", "http_request_denied", false, true},
	{AddressDenied, 403, ExitRefused, "the destination resolves to an address that is not public", "the operator lists the network in allow_private and the owner marks the rule private", "destination_ip_prohibited", false, true},
	{CredentialDisabled, 403, ExitRefused, "the credential is disabled", "enable it: keybearer credential enable <scope>/<name>", "http_request_denied", false, true},
	{CredentialExpired, 403, ExitRefused, "the credential has expired", "replace its secret and set a later expiry", "http_request_denied", false, true},
	{CredentialNeedsSecret, 409, ExitConflict, "the credential has no secret", "set one: keybearer credential set-secret <scope>/<name>", "http_request_denied", false, true},
	{CredentialDeleted, 410, ExitNotFound, "the credential was deleted", "restore it while it can be: keybearer credential restore <scope>/<name>", "http_request_denied", false, true},
	{RateLimited, 429, ExitRefused, "too many requests", "wait as long as Retry-After says", "http_request_denied", true, true},
	{TLSTunnelUnsupported, 501, ExitFailed, "Keybearer cannot write a header into an encrypted tunnel", "ask for http:// through the proxy instead of https://; Keybearer itself speaks TLS to the destination", "http_request_error", false, true},
	{DestinationUnreachable, 502, ExitFailed, "the destination could not be reached", "check the host name, the port and the network between Keybearer and it", "destination_unavailable", false, true},
	{DestinationTLSFailed, 502, ExitFailed, "the destination's TLS could not be verified", "check its certificate, or add its root with the trust option", "tls_certificate_error", false, true},
	{DestinationTimeout, 504, ExitFailed, "the destination did not answer in time", "check the destination, or raise the timeout", "http_response_timeout", false, true},
	{KeyringUnavailable, 503, ExitFailed, "the keyring cannot open the secret now", "try again; operators: keybearer doctor", "proxy_internal_error", true, true},
	{StoreUnavailable, 503, ExitFailed, "the store cannot be read or written now", "try again; operators: keybearer doctor", "proxy_internal_error", true, true},
	{AuditUnavailable, 503, ExitFailed, "the audit log cannot be written, so nothing is sent", "free space or mend the permissions of the audit file", "proxy_internal_error", true, true},
	{ScopeRegenerating, 503, ExitFailed, "the scope's key is being regenerated", "try again when it has finished", "proxy_internal_error", true, true},
	{CallerGone, 499, ExitFailed, "the caller closed the connection before the answer", "", "http_request_error", false, true},

	{Invalid, 400, ExitUsage, "a value is not acceptable", "", "", false, false},
	{RuleInvalid, 400, ExitUsage, "the destination rule is not acceptable", "", "", false, false},
	{SecretInvalid, 400, ExitUsage, "the secret is not acceptable", "", "", false, false},
	{ConfirmationRequired, 400, ExitUsage, "this destroys credentials and needs confirmation", "repeat it with the scope's name and the number of credentials that it destroys", "", false, false},
	{Unauthenticated, 401, ExitRefused, "the operator did not prove who they are", "use the admin socket, or set KEYBEARER_TOKEN_FILE to a file that holds an operator token", "", false, false},
	{Forbidden, 403, ExitRefused, "this needs a permission that you do not hold", "", "", false, false},
	{NotFound, 404, ExitNotFound, "there is no such thing, or you may not see it", "", "", false, false},
	{AlreadyExists, 409, ExitConflict, "the name is taken", "choose another name, or change the one that exists", "", false, false},
	{Conflict, 409, ExitConflict, "it is not in a state that allows this", "", "", false, false},
	{ScopeKeyMissing, 409, ExitConflict, "the scope has no key", "generate one first: keybearer scope generate-key <scope>", "", false, false},
	{ScopeKeyExists, 409, ExitConflict, "the scope already has a key", "rotate it (loses nothing) or regenerate it (destroys the scope's credentials)", "", false, false},
	{ScopeNotEmpty, 409, ExitConflict, "the scope still holds credentials", "delete them first, or regenerate the scope's key", "", false, false},
	{SecretRequired, 409, ExitConflict, "this widens where the secret may go and needs the secret again", "give the secret in the same request", "", false, false},
	{RecentlyUsed, 409, ExitConflict, "the credential was used in the last 30 days", "look at who uses it, then repeat with force", "", false, false},
	{CountMismatch, 409, ExitConflict, "the number of credentials is not the expected one", "look at the dry run again and give the count that it shows", "", false, false},
	{NoPreviousVersion, 409, ExitConflict, "there is no previous version to go back to", "", "", false, false},
	{Stale, 412, ExitConflict, "it was changed since you read it", "read it again and repeat the change", "", false, false},
	{PreconditionRequired, 428, ExitUsage, "a change needs If-Match", "send the ETag that you read", "", false, false},
	{Internal, 500, ExitFailed, "something went wrong inside", "report it with the request id", "proxy_internal_error", false, true},
	{ServerUnreachable, 503, ExitUnreachable, "the Keybearer server cannot be reached", "start it with keybearer run, or set KEYBEARER_ADDR", "", false, false},
}

var codeIndex = func() map[Code]*CodeInfo {
	m := make(map[Code]*CodeInfo, len(codes))
	for i := range codes {
		m[codes[i].Code] = &codes[i]
	}
	return m
}()

// Codes returns the whole table, in the order of the documentation.
func Codes() []CodeInfo { return slices.Clone(codes) }

// Info returns the row of c; that of [Internal] for a code that is not in the table.
func (c Code) Info() CodeInfo {
	if i, ok := codeIndex[c]; ok {
		return *i
	}
	return *codeIndex[Internal]
}

// Error is the one error type of Keybearer. It never holds a secret, a ciphertext or, in Detail and Hint,
// anything that a request chose freely: both are safe to show to whoever gets the answer. Err is for
// the server's own log alone.
type Error struct {
	Code   Code
	Op     string // what was being done, "credential create"; may be empty
	Detail string // one sentence about this occurrence; lower case, no full stop; may be empty
	Hint   string // how to mend it; empty means the code's own hint
	Field  string // the field of the request that it concerns, as the admin API names it; may be empty
	Err    error  // cause; not shown to callers

	RetryAfter time.Duration // of a code that carries Retry-After: how long to wait; zero: a moment
}

// NewError returns an error with a code and a detail.
func NewError(code Code, detail string) *Error { return &Error{Code: code, Detail: detail} }

// WithHint sets the hint and returns e.
func (e *Error) WithHint(hint string) *Error { e.Hint = hint; return e }

// In names the field that it concerns, unless it names one already, and returns e.
func (e *Error) In(field string) *Error {
	if e.Field == "" {
		e.Field = field
	}
	return e
}

// Wrap sets the cause and returns e.
func (e *Error) Wrap(err error) *Error { e.Err = err; return e }

// Error gives operation, detail (or the code's title) and cause, for logs.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op)
		b.WriteString(": ")
	}
	b.WriteString(e.Message())
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Message is the sentence for whoever gets the answer: the detail, or the code's title.
func (e *Error) Message() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Code.Info().Title
}

// Advice is the hint for whoever gets the answer: the error's own, or the code's.
func (e *Error) Advice() string {
	if e.Hint != "" {
		return e.Hint
	}
	return e.Code.Info().Hint
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error with the same code, so that
// errors.Is(err, &Error{Code: NotFound}) holds whatever the detail.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf returns the code of the first *Error in err's chain, [Internal] for any other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// AsError returns the first *Error in err's chain, or an [Internal] one that wraps err. Nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: Internal, Err: err}
}
