# keybearer-control.hcl: the control plane seals, rewraps and keeps the keys; it cannot open a secret
path "keybearer/encrypt/+"     { capabilities = ["update"] }
path "keybearer/rewrap/+"      { capabilities = ["update"] }
path "keybearer/keys"          { capabilities = ["list"] }
path "keybearer/keys/+"        {
  capabilities      = ["create", "read", "update", "delete"]
  denied_parameters = { "exportable" = [], "allow_plaintext_backup" = [] }
}
path "keybearer/keys/+/rotate" { capabilities = ["update"] }
path "keybearer/keys/+/config" {
  capabilities       = ["update"]
  allowed_parameters = { "deletion_allowed" = [] }
}
path "keybearer/config/keys"   { capabilities = ["read"] }
path "auth/token/renew-self"   { capabilities = ["update"] }
path "auth/token/lookup-self"  { capabilities = ["read"] }
path "auth/token/revoke-self"  { capabilities = ["update"] }
