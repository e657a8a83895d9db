package transit

import (
	"net/http"

	"github.com/keybearer/keybearer/internal/vaultclient"
)

// probe is a request that tells whether a role may do something, and does nothing even if it may: Vault judges the right first,
// and then finds that the request lacks what it needs, or that the key is not there.
type probe struct {
	name   string // what the role would do
	method string
	path   string // below the mount; $ is a key that is not there, @ one that is, where one is known
	body   map[string]any
	fix    string // the lines of a policy that allow it, for what a role needs
}

func (p probe) request(path string) vaultclient.Request {
	r := vaultclient.Request{Method: p.method, Path: path}
	if p.method == http.MethodPut {
		r.Body = p.body
		if p.body == nil {
			r.Body = map[string]any{}
		}
	}
	return r
}

// The parts of what can be done with a transit engine.
var (
	decrypt   = probe{"open secrets", "PUT", "decrypt/$", nil, `path "MOUNT/decrypt/+" { capabilities = ["update"] }`}
	encrypt   = probe{"seal secrets", "PUT", "encrypt/@", nil, `path "MOUNT/encrypt/+" { capabilities = ["update"] }`}
	rewrap    = probe{"rewrap secrets", "PUT", "rewrap/$", nil, `path "MOUNT/rewrap/+" { capabilities = ["update"] }`}
	list      = probe{"list keys", "LIST", "keys", nil, `path "MOUNT/keys" { capabilities = ["list"] }`}
	read      = probe{"read keys", "GET", "keys/$", nil, `path "MOUNT/keys/+" { capabilities = ["create", "read", "update", "delete"] }`}
	create    = probe{"create keys", "PUT", "keys/$", map[string]any{"type": "none", "derived": true}, read.fix}
	destroy   = probe{"delete keys", "DELETE", "keys/$", nil, read.fix}
	rotate    = probe{"rotate keys", "PUT", "keys/$/rotate", nil, `path "MOUNT/keys/+/rotate" { capabilities = ["update"] }`}
	allowEnd  = probe{"allow the deletion of keys", "PUT", "keys/$/config", map[string]any{"deletion_allowed": true}, `path "MOUNT/keys/+/config" { capabilities = ["update"] allowed_parameters = { "deletion_allowed" = [] } }`}
	seeUpsert = probe{"see disable_upsert", "GET", "config/keys", nil, `path "MOUNT/config/keys" { capabilities = ["read"] }`}

	configure     = probe{"change the oldest version that opens", "PUT", "keys/$/config", map[string]any{"min_decryption_version": 1}, ""}
	allowUpsert   = probe{"switch disable_upsert off", "PUT", "config/keys", map[string]any{"disable_upsert": "neither"}, ""}
	export        = probe{"export keys", "GET", "export/encryption-key/$", nil, ""}
	byokExport    = probe{"export keys under another", "GET", "byok-export/$/$", nil, ""}
	backup        = probe{"back keys up", "GET", "backup/$", nil, ""}
	restore       = probe{"restore keys", "PUT", "restore/$", nil, ""}
	trim          = probe{"trim keys", "PUT", "keys/$/trim", nil, ""}
	importKey     = probe{"import keys", "PUT", "keys/$/import", map[string]any{"type": "none"}, ""}
	importNext    = probe{"import key versions", "PUT", "keys/$/import_version", nil, ""}
	dataKey       = probe{"make data keys", "PUT", "datakey/plaintext/$", nil, ""}
	wrappedKey    = probe{"make wrapped data keys", "PUT", "datakey/wrapped/$", nil, ""}
	hmac          = probe{"compute HMACs", "PUT", "hmac/$", nil, ""}
	sign          = probe{"sign", "PUT", "sign/$", nil, ""}
	exportable    = probe{"create keys that can be exported", "PUT", "keys/$", map[string]any{"type": "none", "exportable": true}, ""}
	backupable    = probe{"create keys that can be backed up in clear", "PUT", "keys/$", map[string]any{"type": "none", "allow_plaintext_backup": true}, ""}
	sealUnheardOf = probe{"create keys by sealing", "PUT", "encrypt/$", nil, ""}
)

// What each role must be able to do, and what it must be refused.
var (
	dataNeeds = []probe{decrypt}
	dataLacks = []probe{
		encrypt, sealUnheardOf, rewrap, list, read, create, destroy, rotate, allowEnd, configure, seeUpsert, allowUpsert, export, byokExport, backup, restore, trim, importKey, importNext,
		dataKey, wrappedKey, hmac, sign, exportable, backupable,
	}
	controlNeeds = []probe{encrypt, rewrap, list, read, create, destroy, rotate, allowEnd, seeUpsert}
	controlLacks = []probe{
		decrypt, sealUnheardOf, configure, allowUpsert, export, byokExport, backup, restore, trim, importKey, importNext, dataKey, wrappedKey, hmac, sign, exportable, backupable,
	}
)
