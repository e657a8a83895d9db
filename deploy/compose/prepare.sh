#!/bin/sh
# Makes what the services need to trust each other, once: an authority whose key is thrown away, a certificate for PostgreSQL and one for Vault,
# and passwords. Run as root, since each file belongs to the user that reads it.
set -eu
umask 077
root=${ROOT-}
[ ! -e "$root/public/ca.pem" ] || exit 0 # the last to be written
work=$(mktemp -d)
cd "$work"

new() { # arguments of openssl req
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "$@"
}
server() { # name, directory, owner
  new -subj "/CN=$1" -keyout server.key -out server.csr
  printf 'subjectAltName=DNS:%s,DNS:localhost\nextendedKeyUsage=serverAuth\n' "$1" >extensions
  openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile extensions -out server.pem
  hand "$2" "$3" server.key server.pem
}
hand() { # directory, owner, files...
  to=$root/$1 owner=$2
  shift 2
  chown "$owner" "$@"
  mv "$@" "$to/"
  chown "$owner" "$to"
  chmod 0700 "$to"
}

new -x509 -days 3650 -subj '/CN=Keybearer on this machine' -keyout ca.key -out ca.pem
server postgres for-postgres 999:999
server vault for-vault 100:1000
openssl rand -hex 32 >admin-password
openssl rand -hex 32 >store-password
cp store-password keybearer-password
hand for-postgres 999:999 admin-password keybearer-password
hand for-keybearer 65532:65532 store-password
chmod 0644 ca.pem
chmod 0755 "$root/public"
mv ca.pem "$root/public/"
rm -rf "$work"
