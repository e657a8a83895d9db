package admin

import (
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// operations is the table: everything that is served under /api/v1.
var operations = slices.Concat(scopeOperations, credentialOperations, trialOperations, callerOperations, operatorOperations, auditOperations, usageOperations, serverOperations)

// Who may ask, in the words of the permission ladder.
const (
	needsInstanceAdmin = "instance-admin"
	needsScopeAdmin    = "scope-admin of the scope"
	needsView          = "view on the credential, or scope-admin of the scope"
	needsEdit          = "edit on the credential"
	needsAdminister    = "administer on the credential"
	needsNothing       = "any proof of who asks; shown is what the asker may see"
)

const (
	scopesPath      = "/api/v1/scopes"
	scopePath       = scopesPath + "/{scope}"
	credentialsPath = scopePath + "/credentials"
	onePath         = credentialsPath + "/{name}"
	callerPath      = "/api/v1/callers/{name}"
	operatorPath    = "/api/v1/operators/{name}"
)

func limitParameter(what string) parameter {
	return parameter{Name: "limit", Description: what, Type: reflect.TypeFor[int](), Low: 1, High: 1000, Else: 100}
}

// paging selects and pages every listing.
var paging = []parameter{
	{Name: "q", Description: "text in the name or description or, of credentials, in a destination's host, whatever its case", Type: reflect.TypeFor[string]()},
	{Name: "deleted", Description: "show what was deleted, too", Type: reflect.TypeFor[bool]()},
	{Name: "cursor", Description: "next of the page before", Type: reflect.TypeFor[string]()},
	limitParameter("items on a page, at most"),
}

var sinceParameter = parameter{Name: "since", Description: "from this time on, to the hour; without it 24 hours ago", Type: reflect.TypeFor[time.Time]()}

var scopeOperations = []operation{
	{
		Method: http.MethodGet, Path: scopesPath, ID: "listScopes", Summary: "List the scopes that the asker administers", Needs: "scope-admin of a scope",
		Query: paging, Takes: bare(listScopes), Answer: reflect.TypeFor[Page[Scope]](),
	},
	{
		Method: http.MethodPost, Path: scopesPath, ID: "createScope", Summary: "Make a scope, without a key", Needs: needsInstanceAdmin,
		Takes: takes(createScope), Answer: reflect.TypeFor[Scope](), Status: http.StatusCreated, Tagged: true, Codes: []keybearer.Code{keybearer.AlreadyExists},
	},
	{
		Method: http.MethodGet, Path: scopePath, ID: "showScope", Summary: "Show a scope", Needs: needsScopeAdmin,
		Takes: bare(showScope), Answer: reflect.TypeFor[Scope](), Tagged: true,
	},
	{
		Method: http.MethodPatch, Path: scopePath, ID: "editScope", Summary: "Change a scope", Needs: needsScopeAdmin,
		Match: mustMatch, Takes: takes(editScope), Answer: reflect.TypeFor[Scope](), Tagged: true,
	},
	{
		Method: http.MethodPost, Path: scopePath + ":delete", ID: "deleteScope", Summary: "Delete a scope without live credentials, its key and its deleted credentials for good",
		Needs: needsScopeAdmin + "; of global: " + needsInstanceAdmin,
		Match: mustMatch, Takes: takes(deleteScope), Answer: reflect.TypeFor[Scope](), Tagged: true,
		Codes: []keybearer.Code{keybearer.ConfirmationRequired, keybearer.CountMismatch, keybearer.ScopeNotEmpty, keybearer.Conflict, keybearer.ScopeRegenerating, keybearer.KeyringUnavailable},
	},
	{
		Method: http.MethodPost, Path: scopePath + "/key:generate", ID: "generateKey", Summary: "Give a scope its first key", Needs: needsScopeAdmin,
		Match: mustMatch, Takes: keyVerb((*custody.Custody).GenerateKey), Answer: reflect.TypeFor[Scope](), Tagged: true,
		Codes: []keybearer.Code{keybearer.ScopeKeyExists, keybearer.Conflict, keybearer.ScopeRegenerating, keybearer.KeyringUnavailable},
	},
	{
		Method: http.MethodPost, Path: scopePath + "/key:rotate", ID: "rotateKey", Summary: "Make a new version of the scope's key and rewrap every secret; nothing is lost", Needs: needsScopeAdmin,
		Match: mustMatch, Takes: keyVerb((*custody.Custody).RotateKey), Answer: reflect.TypeFor[Scope](), Tagged: true,
		Codes: []keybearer.Code{keybearer.ScopeKeyMissing, keybearer.Conflict, keybearer.ScopeRegenerating, keybearer.KeyringUnavailable},
	},
	{
		Method: http.MethodPost, Path: scopePath + "/key:regenerate", ID: "regenerateKey",
		Summary: "Make a new generation of the scope's key, and destroy the old one with every secret that it sealed; or tell what that would destroy",
		Needs:   needsScopeAdmin + "; of global: " + needsInstanceAdmin,
		Match:   mayMatch, Takes: takes(regenerateKey), Answer: reflect.TypeFor[Regeneration](), Tagged: true,
		Codes: []keybearer.Code{keybearer.ConfirmationRequired, keybearer.CountMismatch, keybearer.ScopeKeyMissing, keybearer.Conflict, keybearer.ScopeRegenerating, keybearer.KeyringUnavailable},
	},
	{
		Method: http.MethodPost, Path: scopePath + "/key:move", ID: "moveKey", Summary: "Move the scope's secrets from the former keyring to the current one", Needs: needsScopeAdmin,
		Match: mustMatch, Takes: keyVerb((*custody.Custody).MoveKey), Answer: reflect.TypeFor[Scope](), Tagged: true,
		Codes: []keybearer.Code{keybearer.ScopeKeyMissing, keybearer.Conflict, keybearer.ScopeRegenerating, keybearer.KeyringUnavailable},
	},
}

// changesOfCredential are the codes of every change of a credential.
var changesOfCredential = []keybearer.Code{keybearer.CredentialDeleted, keybearer.ScopeRegenerating, keybearer.Conflict}

// widens are the codes of a change that may need the secret.
var widens = slices.Concat(changesOfCredential, []keybearer.Code{
	keybearer.RuleInvalid, keybearer.SecretRequired, keybearer.SecretInvalid, keybearer.ScopeKeyMissing, keybearer.KeyringUnavailable,
})

var credentialOperations = []operation{
	{
		Method: http.MethodGet, Path: credentialsPath, ID: "listCredentials", Summary: "List the credentials of a scope, or with - of every scope, that the asker may see", Needs: needsNothing,
		Query: slices.Concat(paging, []parameter{
			{Name: "kind", Description: "only of this kind", Type: reflect.TypeFor[keybearer.Kind]()},
			{Name: "subject", Description: "only those that have a grant for this subject", Type: reflect.TypeFor[keybearer.Subject]()},
		}),
		Takes: bare(listCredentials), Answer: reflect.TypeFor[Page[Credential]](),
	},
	{
		Method: http.MethodPost, Path: credentialsPath, ID: "createCredential", Summary: "Make a credential in a scope that has a key; who makes it administers it", Needs: needsScopeAdmin,
		Takes: takes(createCredential), Answer: reflect.TypeFor[Credential](), Status: http.StatusCreated, Tagged: true,
		Codes: []keybearer.Code{keybearer.AlreadyExists, keybearer.RuleInvalid, keybearer.SecretInvalid, keybearer.ScopeKeyMissing, keybearer.ScopeRegenerating, keybearer.Conflict, keybearer.KeyringUnavailable},
	},
	{
		Method: http.MethodGet, Path: onePath, ID: "showCredential", Summary: "Show a credential, never its secret", Needs: needsView,
		Takes: bare(showCredential), Answer: reflect.TypeFor[Credential](), Tagged: true,
	},
	{
		Method: http.MethodPatch, Path: onePath, ID: "editCredential", Summary: "Change a credential",
		Needs: needsEdit + "; for destinations, require_user and websocket " + needsAdminister,
		Match: mustMatch, Takes: takes(editCredential), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: widens,
	},
	{
		Method: http.MethodDelete, Path: onePath, ID: "deleteCredential", Summary: "Delete a credential; it can be restored for a while", Needs: needsAdminister,
		Query: []parameter{{Name: "force", Description: "even though it was used in the last 30 days", Type: reflect.TypeFor[bool]()}},
		Match: mustMatch, Takes: bare(deleteCredential), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: slices.Concat(changesOfCredential, []keybearer.Code{keybearer.RecentlyUsed}),
	},
	{
		Method: http.MethodPost, Path: onePath + ":disable", ID: "disableCredential", Summary: "Refuse every use from now on", Needs: needsAdminister,
		Match: mustMatch, Takes: credentialVerb((*custody.Custody).DisableCredential), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: changesOfCredential,
	},
	{
		Method: http.MethodPost, Path: onePath + ":enable", ID: "enableCredential", Summary: "Take back a disable", Needs: needsAdminister,
		Match: mustMatch, Takes: credentialVerb((*custody.Custody).EnableCredential), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: changesOfCredential,
	},
	{
		Method: http.MethodPost, Path: onePath + ":rollback", ID: "rollbackCredential", Summary: "Go back to the previous secret and the terms it was given for",
		Needs: needsEdit + "; to wider terms " + needsAdminister,
		Match: mustMatch, Takes: credentialVerb((*custody.Custody).RollbackCredential), Answer: reflect.TypeFor[Credential](), Tagged: true,
		Codes: slices.Concat(changesOfCredential, []keybearer.Code{keybearer.NoPreviousVersion, keybearer.KeyringUnavailable}),
	},
	{
		Method: http.MethodPost, Path: onePath + ":restore", ID: "restoreCredential", Summary: "Bring a deleted credential back", Needs: needsAdminister,
		Match: mustMatch, Takes: credentialVerb((*custody.Custody).RestoreCredential), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: changesOfCredential,
	},
	{
		Method: http.MethodPost, Path: onePath + ":test", ID: "testCredential", Summary: "Send one request without a body with the credential, as a caller", Needs: needsAdminister,
		Takes: takes(testCredential), Answer: reflect.TypeFor[TestResult](), Codes: []keybearer.Code{keybearer.DestinationInvalid, keybearer.DestinationTimeout, keybearer.Conflict},
	},
	{
		Method: http.MethodPut, Path: onePath + "/secret", ID: "setSecret", Summary: "Replace the secret; the terms stay", Needs: needsEdit,
		Match: mustMatch, Takes: takes(setSecret), Answer: reflect.TypeFor[Credential](), Tagged: true,
		Codes: slices.Concat(changesOfCredential, []keybearer.Code{keybearer.SecretInvalid, keybearer.ScopeKeyMissing, keybearer.KeyringUnavailable}),
	},
	{
		Method: http.MethodGet, Path: onePath + "/grants", ID: "listGrants", Summary: "List the grants of a credential", Needs: needsAdminister + ", or " + needsScopeAdmin,
		Takes: bare(listGrants), Answer: reflect.TypeFor[Page[Grant]](), Tagged: true,
	},
	{
		Method: http.MethodPut, Path: onePath + "/grants", ID: "setGrant", Summary: "Give a subject exactly that level", Needs: needsAdminister + "; scope-admin of the scope for their own subject",
		Match: mustMatch, Takes: takes(setGrant), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: changesOfCredential,
	},
	{
		Method: http.MethodDelete, Path: onePath + "/grants", ID: "removeGrant", Summary: "Take a subject's grant away", Needs: needsAdminister,
		Query: []parameter{{Name: "subject", Description: "whose grant", Type: reflect.TypeFor[keybearer.Subject](), Required: true}},
		Match: mustMatch, Takes: bare(removeGrant), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: changesOfCredential,
	},
	{
		Method: http.MethodGet, Path: onePath + "/destinations", ID: "listDestinations", Summary: "List the destination rules of a credential", Needs: needsView,
		Takes: bare(listDestinations), Answer: reflect.TypeFor[Page[Destination]](), Tagged: true,
	},
	{
		Method: http.MethodPost, Path: onePath + "/destinations", ID: "addDestinations", Summary: "Add destination rules; a widening needs the secret", Needs: needsAdminister,
		Match: mustMatch, Takes: takes(addDestinations), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: widens,
	},
	{
		Method: http.MethodPut, Path: onePath + "/destinations", ID: "replaceDestinations", Summary: "Put destination rules in the place of all that there are", Needs: needsAdminister,
		Match: mustMatch, Takes: takes(replaceDestinations), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: widens,
	},
	{
		Method: http.MethodDelete, Path: onePath + "/destinations", ID: "removeDestination", Summary: "Remove the rules with that text, whatever their methods", Needs: needsAdminister,
		Query: []parameter{{Name: "rule", Description: "text of the rule, in any spelling", Type: reflect.TypeFor[string](), Required: true}},
		Match: mustMatch, Takes: bare(removeDestination), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: widens,
	},
}

var trialOperations = []operation{
	{
		Method: http.MethodGet, Path: onePath + "/destinations:try", ID: "showTrial", Summary: "Show the rules on trial, and what they would have refused", Needs: needsView,
		Takes: bare(showTrial), Answer: reflect.TypeFor[TrialReport](), Tagged: true,
	},
	{
		Method: http.MethodPut, Path: onePath + "/destinations:try", ID: "tryDestinations", Summary: "Put narrower rules on trial; they refuse nothing", Needs: needsAdminister,
		Match: mustMatch, Takes: takes(tryDestinations), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: slices.Concat(changesOfCredential, []keybearer.Code{keybearer.RuleInvalid}),
	},
	{
		Method: http.MethodDelete, Path: onePath + "/destinations:try", ID: "discardTrial", Summary: "End the trial", Needs: needsAdminister,
		Match: mustMatch, Takes: credentialVerb((*custody.Custody).DiscardTrial), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: changesOfCredential,
	},
	{
		Method: http.MethodPost, Path: onePath + "/destinations:enforce", ID: "enforceTrial", Summary: "Put the rules on trial into force", Needs: needsAdminister,
		Match: mustMatch, Takes: credentialVerb((*custody.Custody).EnforceTrial), Answer: reflect.TypeFor[Credential](), Tagged: true, Codes: widens,
	},
}

var callerOperations = []operation{
	{
		Method: http.MethodGet, Path: "/api/v1/callers", ID: "listCallers", Summary: "List callers", Needs: needsInstanceAdmin,
		Query: paging, Takes: bare(listCallers), Answer: reflect.TypeFor[Page[Caller]](),
	},
	{
		Method: http.MethodPost, Path: "/api/v1/callers", ID: "createCaller", Summary: "Make a caller; its token is shown this once", Needs: needsInstanceAdmin,
		Takes: takes(createCaller), Answer: reflect.TypeFor[IssuedCaller](), Status: http.StatusCreated, Tagged: true, Codes: []keybearer.Code{keybearer.AlreadyExists},
	},
	{
		Method: http.MethodGet, Path: callerPath, ID: "showCaller", Summary: "Show a caller", Needs: needsInstanceAdmin,
		Takes: bare(showCaller), Answer: reflect.TypeFor[Caller](), Tagged: true,
	},
	{
		Method: http.MethodPatch, Path: callerPath, ID: "editCaller", Summary: "Change a caller", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: takes(editCaller), Answer: reflect.TypeFor[Caller](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodDelete, Path: callerPath, ID: "deleteCaller", Summary: "Delete a caller for good; its name stays reserved", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: callerVerb((*custody.Custody).DeleteCaller), Answer: reflect.TypeFor[Caller](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodPost, Path: callerPath + ":disable", ID: "disableCaller", Summary: "Refuse the caller from now on", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: callerVerb((*custody.Custody).DisableCaller), Answer: reflect.TypeFor[Caller](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodPost, Path: callerPath + ":enable", ID: "enableCaller", Summary: "Take back a disable", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: callerVerb((*custody.Custody).EnableCaller), Answer: reflect.TypeFor[Caller](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodPut, Path: callerPath + "/scopes/{scope}", ID: "bindCaller", Summary: "Let the caller be granted credentials of the scope", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: bare(bindCaller), Answer: reflect.TypeFor[Caller](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodDelete, Path: callerPath + "/scopes/{scope}", ID: "unbindCaller", Summary: "Refuse the caller every credential of the scope", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: bare(unbindCaller), Answer: reflect.TypeFor[Caller](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodPost, Path: callerPath + "/tokens", ID: "issueCallerToken", Summary: "Make one more token, which is shown this once", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: takes(newCallerToken), Answer: reflect.TypeFor[IssuedCaller](), Status: http.StatusCreated, Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodDelete, Path: callerPath + "/tokens", ID: "revokeCallerTokens", Summary: "Revoke all tokens", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: bare(revokeCallerTokens), Answer: reflect.TypeFor[Caller](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodDelete, Path: callerPath + "/tokens/{token}", ID: "revokeCallerToken", Summary: "Revoke one token", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: bare(revokeCallerTokens), Answer: reflect.TypeFor[Caller](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
}

var operatorOperations = []operation{
	{
		Method: http.MethodGet, Path: "/api/v1/operators", ID: "listOperators", Summary: "List operators", Needs: needsInstanceAdmin,
		Query: paging, Takes: bare(listOperators), Answer: reflect.TypeFor[Page[Operator]](),
	},
	{
		Method: http.MethodPost, Path: "/api/v1/operators", ID: "createOperator", Summary: "Make an operator; its token is shown this once", Needs: needsInstanceAdmin,
		Takes: takes(createOperator), Answer: reflect.TypeFor[IssuedOperator](), Status: http.StatusCreated, Tagged: true, Codes: []keybearer.Code{keybearer.AlreadyExists},
	},
	{
		Method: http.MethodGet, Path: operatorPath, ID: "showOperator", Summary: "Show an operator", Needs: needsInstanceAdmin,
		Takes: bare(showOperator), Answer: reflect.TypeFor[Operator](), Tagged: true,
	},
	{
		Method: http.MethodPatch, Path: operatorPath, ID: "editOperator", Summary: "Change an operator, its groups and roles", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: takes(editOperator), Answer: reflect.TypeFor[Operator](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodDelete, Path: operatorPath, ID: "deleteOperator", Summary: "Delete an operator for good; its name stays reserved", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: operatorVerb((*custody.Custody).DeleteOperator), Answer: reflect.TypeFor[Operator](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodPost, Path: operatorPath + ":disable", ID: "disableOperator", Summary: "Refuse the operator from now on", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: operatorVerb((*custody.Custody).DisableOperator), Answer: reflect.TypeFor[Operator](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodPost, Path: operatorPath + ":enable", ID: "enableOperator", Summary: "Take back a disable", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: operatorVerb((*custody.Custody).EnableOperator), Answer: reflect.TypeFor[Operator](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodPost, Path: operatorPath + "/tokens", ID: "issueOperatorToken", Summary: "Make one more token, which is shown this once", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: takes(newOperatorToken), Answer: reflect.TypeFor[IssuedOperator](), Status: http.StatusCreated, Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodDelete, Path: operatorPath + "/tokens", ID: "revokeOperatorTokens", Summary: "Revoke all tokens", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: bare(revokeOperatorTokens), Answer: reflect.TypeFor[Operator](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodDelete, Path: operatorPath + "/tokens/{token}", ID: "revokeOperatorToken", Summary: "Revoke one token", Needs: needsInstanceAdmin,
		Match: mustMatch, Takes: bare(revokeOperatorTokens), Answer: reflect.TypeFor[Operator](), Tagged: true, Codes: []keybearer.Code{keybearer.Conflict},
	},
}

var serverOperations = []operation{
	{
		Method: http.MethodPost, Path: "/api/v1/setup", ID: "makeSetUpLink", Summary: "Make the link that makes the first operator in a browser, once", Needs: needsInstanceAdmin + ", over the admin socket",
		Takes: bare(makeSetUp), Answer: reflect.TypeFor[SetUpLink](), Status: http.StatusCreated, Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodPost, Path: "/api/v1/check", ID: "check", Summary: "Tell whether a request would be allowed, and why", Needs: needsView,
		Takes: takes(check), Answer: reflect.TypeFor[CheckResult](), Codes: []keybearer.Code{keybearer.DestinationInvalid, keybearer.TagInvalid},
	},
	{
		Method: http.MethodGet, Path: "/api/v1/whoami", ID: "whoami", Summary: "Tell who the asker is to the server", Needs: "any proof of who asks",
		Takes: bare(whoami), Answer: reflect.TypeFor[Whoami](),
	},
	{
		Method: http.MethodGet, Path: "/api/v1/status", ID: "showStatus", Summary: "Tell whether the server's parts work", Needs: needsInstanceAdmin,
		Takes: bare(status), Answer: reflect.TypeFor[Status](),
	},
	{
		Method: http.MethodGet, Path: "/api/v1/migrations/keyring", ID: "showKeyMigration", Summary: "Tell how far the scopes have moved to the current keyring", Needs: needsInstanceAdmin,
		Takes: bare(showKeyMigration), Answer: reflect.TypeFor[KeyMigration](),
	},
	{
		Method: http.MethodGet, Path: "/api/v1/migrations/store", ID: "showStoreMigration", Summary: "Tell how far the records have moved to the current store", Needs: needsInstanceAdmin,
		Takes: bare(showStoreMigration), Answer: reflect.TypeFor[StoreMigration](),
	},
	{
		Method: http.MethodPost, Path: "/api/v1/migrations/store", ID: "moveStore", Summary: "Have the records move to the current store, or go on with it", Needs: needsInstanceAdmin,
		Takes: bare(moveStore), Answer: reflect.TypeFor[StoreMigration](), Codes: []keybearer.Code{keybearer.Conflict},
	},
	{
		Method: http.MethodGet, Path: "/api/v1/openapi.json", ID: "describe", Summary: "Describe this API as OpenAPI 3.1", Needs: "nothing: it holds nothing of the instance", Open: true,
		Header: []parameter{{Name: "If-None-Match", Description: "ETag of the description that is there already", Type: reflect.TypeFor[string]()}},
		Takes:  bare(describe), Media: []string{"application/json"},
	},
}
