// Package manifest says how scopes, credentials, callers and operators are written down for review and for git, and what has to be done
// so that a server has what is written. It is a client of the admin API and has no right of its own: the server judges every step.
//
// [Read] takes files and refuses whatever is not exactly the form; [Load] asks a server for what it has; [Export] turns that into
// the form again. [NewPlan] compares the two, checks all that a client can know, and holds the steps; [Plan.Apply] takes them.
//
// A manifest holds no secret, no token, no hash and no id, and this package refuses to know one for longer than it takes to send it:
// credentials name where their secret is ([Reference]), and that is read only when the server needs it.
//
//	apiVersion: keybearer/v1
//	scopes:
//	  docs:
//	    description: handbooks
//	    key: true                          # made if there is none; never made anew
//	credentials:
//	  docs/crm:
//	    kind: bearer                       # or basic, header (with header and prefix)
//	    description: the CRM
//	    secret: "{env.CRM_TOKEN}"          # or "{file./run/secrets/crm}"; basic: username and password
//	    destinations:
//	      - rule: https://api.example.com/hooks
//	        methods: [POST]
//	        private: true
//	    require_user: true                 # as are websocket, pass_cookies, pass_trace, scrub_body and disabled
//	    expires_at: 2027-01-31T00:00:00Z
//	    grants:
//	      app:billing: use
//	callers:
//	  billing:
//	    description: the shop
//	    scopes: [docs]
//	operators:
//	  ada:
//	    groups: [sales]
//	    roles: [instance-admin, scope-admin:docs]
//
// A record that is listed is what is written: a field that is not there has its default. Only a credential's grants and secret
// and a scope's key are left as they are when they are not written.
package manifest
