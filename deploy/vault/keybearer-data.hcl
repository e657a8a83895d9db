# keybearer-data.hcl: the data plane opens secrets, and does nothing else
path "keybearer/decrypt/+"    { capabilities = ["update"] }
path "auth/token/renew-self"  { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
