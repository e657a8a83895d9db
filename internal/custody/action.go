package custody

import "github.com/keybearer/keybearer"

// Action names an operation, in audit events and in the table of needs.
type Action string

// The actions.
const (
	ScopeList       Action = "scope.list"
	ScopeShow       Action = "scope.show"
	ScopeCreate     Action = "scope.create"
	ScopeEdit       Action = "scope.edit"
	ScopeDelete     Action = "scope.delete"
	ScopeGenerate   Action = "scope.generate-key"
	ScopeRotate     Action = "scope.rotate-key"
	ScopeRegenerate Action = "scope.regenerate-key"
	ScopeMove       Action = "scope.move-key"

	CredentialList      Action = "credential.list"
	CredentialShow      Action = "credential.show"
	CredentialCheck     Action = "credential.check"
	CredentialTest      Action = "credential.test" // send a request with it as one of its callers
	CredentialCreate    Action = "credential.create"
	CredentialEdit      Action = "credential.edit"
	CredentialSetSecret Action = "credential.set-secret"
	CredentialRollback  Action = "credential.rollback"
	CredentialDisable   Action = "credential.disable"
	CredentialEnable    Action = "credential.enable"
	CredentialDelete    Action = "credential.delete"
	CredentialRestore   Action = "credential.restore"
	CredentialPurge     Action = "credential.purge" // by the server itself, when its time is over

	GrantList   Action = "grant.list"
	GrantSet    Action = "grant.set"
	GrantRemove Action = "grant.remove"

	DestinationAdd     Action = "destination.add"
	DestinationReplace Action = "destination.replace"
	DestinationRemove  Action = "destination.remove"
	DestinationTry     Action = "destination.try"
	DestinationEnforce Action = "destination.enforce"
	DestinationDiscard Action = "destination.discard"

	CallerList    Action = "caller.list"
	CallerShow    Action = "caller.show"
	CallerCreate  Action = "caller.create"
	CallerEdit    Action = "caller.edit"
	CallerToken   Action = "caller.token"
	CallerRevoke  Action = "caller.revoke"
	CallerDisable Action = "caller.disable"
	CallerEnable  Action = "caller.enable"
	CallerDelete  Action = "caller.delete"

	OperatorList    Action = "operator.list"
	OperatorShow    Action = "operator.show"
	OperatorCreate  Action = "operator.create"
	OperatorEdit    Action = "operator.edit"
	OperatorToken   Action = "operator.token"
	OperatorRevoke  Action = "operator.revoke"
	OperatorDisable Action = "operator.disable"
	OperatorEnable  Action = "operator.enable"
	OperatorDelete  Action = "operator.delete"

	OperatorSetUpLink Action = "operator.set-up-link"
	OperatorSetUp     Action = "operator.set-up"   // of the first operator, by whoever holds the link
	OperatorSignIn    Action = "operator.sign-in"  // by the operator, in a browser
	OperatorSignOut   Action = "operator.sign-out" // by the operator, in a browser

	UsageShow Action = "usage.show"
	AuditRead Action = "audit.read"

	StatusShow    Action = "status.show"
	MigrationShow Action = "migration.show"
	StoreMove     Action = "store.move"
)

// role is what an action needs of an operator.
type role uint8

const (
	noRole role = iota
	scopeAdmin
	instanceAdmin
)

// need is what an action takes: the level on the credential, or the role where one is given. The zero value admits nobody.
type need struct {
	level   keybearer.Level
	role    role
	self    bool // the role counts only for what concerns the actor's own subject
	callers bool // a caller's token may ask
	reads   bool // changes nothing
}

// needs is the one table of permissions (CONTRACT sections 6 and 14.2).
var needs = map[Action]need{
	ScopeList:       {role: scopeAdmin, reads: true},
	ScopeShow:       {role: scopeAdmin, reads: true},
	ScopeCreate:     {role: instanceAdmin},
	ScopeEdit:       {role: scopeAdmin},
	ScopeDelete:     {role: scopeAdmin},
	ScopeGenerate:   {role: scopeAdmin},
	ScopeRotate:     {role: scopeAdmin},
	ScopeRegenerate: {role: scopeAdmin}, // of global: instanceAdmin
	ScopeMove:       {role: scopeAdmin},

	CredentialList:      {level: keybearer.View, role: scopeAdmin, callers: true, reads: true},
	CredentialShow:      {level: keybearer.View, role: scopeAdmin, callers: true, reads: true},
	CredentialCheck:     {level: keybearer.View, role: scopeAdmin, callers: true, reads: true},
	CredentialTest:      {level: keybearer.Administer},
	CredentialCreate:    {role: scopeAdmin},
	CredentialEdit:      {level: keybearer.Edit},
	CredentialSetSecret: {level: keybearer.Edit},
	CredentialRollback:  {level: keybearer.Edit},
	CredentialDisable:   {level: keybearer.Administer},
	CredentialEnable:    {level: keybearer.Administer},
	CredentialDelete:    {level: keybearer.Administer},
	CredentialRestore:   {level: keybearer.Administer},

	GrantList:   {level: keybearer.Administer, role: scopeAdmin, reads: true},
	GrantSet:    {level: keybearer.Administer, role: scopeAdmin, self: true},
	GrantRemove: {level: keybearer.Administer},

	DestinationAdd:     {level: keybearer.Administer},
	DestinationReplace: {level: keybearer.Administer},
	DestinationRemove:  {level: keybearer.Administer},
	DestinationTry:     {level: keybearer.Administer},
	DestinationEnforce: {level: keybearer.Administer},
	DestinationDiscard: {level: keybearer.Administer},

	CallerList:    {role: instanceAdmin, reads: true},
	CallerShow:    {role: instanceAdmin, reads: true},
	CallerCreate:  {role: instanceAdmin},
	CallerEdit:    {role: instanceAdmin},
	CallerToken:   {role: instanceAdmin},
	CallerRevoke:  {role: instanceAdmin},
	CallerDisable: {role: instanceAdmin},
	CallerEnable:  {role: instanceAdmin},
	CallerDelete:  {role: instanceAdmin},

	OperatorList:    {role: instanceAdmin, reads: true},
	OperatorShow:    {role: instanceAdmin, reads: true},
	OperatorCreate:  {role: instanceAdmin},
	OperatorEdit:    {role: instanceAdmin},
	OperatorToken:   {role: instanceAdmin},
	OperatorRevoke:  {role: instanceAdmin},
	OperatorDisable: {role: instanceAdmin},
	OperatorEnable:  {role: instanceAdmin},
	OperatorDelete:  {role: instanceAdmin},

	OperatorSetUpLink: {role: instanceAdmin}, // over the admin socket

	UsageShow: {role: instanceAdmin, reads: true}, // of one credential: as CredentialShow
	AuditRead: {role: scopeAdmin, reads: true},    // scope admins: their scopes' events

	StatusShow:    {role: instanceAdmin, reads: true},
	MigrationShow: {role: instanceAdmin, reads: true},
	StoreMove:     {role: instanceAdmin},
}

// needOf looks the action up. An unknown one takes more than anybody has.
func needOf(action Action, on target) need {
	n := needs[action]
	if (action == ScopeRegenerate || action == ScopeDelete) && on.scope != nil && on.scope.Name == keybearer.GlobalScope {
		n.role = instanceAdmin
	}
	return n
}
