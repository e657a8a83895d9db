#!/bin/sh
# Unseals Vault. The first time it makes Vault new, and sets it up as docs/vault.md says, line by line; the root token is revoked when all that is done.
# The unseal key stays in the volume "unseal".
set -eu
umask 077
root=${ROOT-}

until vault status >/dev/null 2>&1 || [ $? -eq 2 ]; do sleep 1; done # 2: it answers, and is sealed
if [ ! -e "$root/unseal/key" ]; then
  [ -s "$root/unseal/init" ] || vault operator init -key-shares=1 -key-threshold=1 >"$root/unseal/init"
  sed -n 's/^Initial Root Token: //p' "$root/unseal/init" >"$root/unseal/root-token"
  sed -n 's/^Unseal Key 1: //p' "$root/unseal/init" >"$root/unseal/key"
  rm "$root/unseal/init"
fi
vault status >/dev/null || vault write sys/unseal key=- <"$root/unseal/key" >/dev/null
until vault status >/dev/null; do sleep 1; done
[ -e "$root/unseal/root-token" ] || exit 0
VAULT_TOKEN=$(cat "$root/unseal/root-token")
export VAULT_TOKEN
until vault token lookup >/dev/null 2>&1; do sleep 1; done # a new Vault takes some seconds to become active

mounted() { vault "$1" list | grep -q "^$2/ "; }
cd "$root/policies"
mounted secrets keybearer || vault secrets enable -path=keybearer transit
vault write keybearer/config/keys disable_upsert=true
vault policy write keybearer-data keybearer-data.hcl
vault policy write keybearer-control keybearer-control.hcl

cd "$root/for-keybearer"
mounted auth approle || vault auth enable approle
for role in data control; do
  vault write auth/approle/role/keybearer-$role token_policies=keybearer-$role \
    token_no_default_policy=true token_ttl=1h token_max_ttl=24h
  vault read -field=role_id auth/approle/role/keybearer-$role/role-id >$role.role-id
  (umask 077 && vault write -f -field=secret_id auth/approle/role/keybearer-$role/secret-id >$role.secret-id)
done
chown 65532:65532 ./*.role-id ./*.secret-id

rm "$root/unseal/root-token"
vault token revoke -self
