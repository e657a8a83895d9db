#!/usr/bin/env bash
# Sends a webhook through Keybearer as its proxy. The http:// is only the hop to Keybearer, which speaks TLS from there on.
set -euo pipefail
: "${KEYBEARER_URL:?}" "${KEYBEARER_TOKEN:?}" "${KEYBEARER_CREDENTIAL:?}" "${WEBHOOK_HOST:?}"

# The token goes in by standard input: other users of the machine can read arguments. --noproxy '' makes NO_PROXY count for nothing.
answer=$(printf 'Proxy-Authorization: Bearer %s' "$KEYBEARER_TOKEN" |
  curl --silent --show-error --max-time 30 --noproxy '' --proxy "$KEYBEARER_URL" --proxy-header @- \
    --header "Keybearer-Credential: $KEYBEARER_CREDENTIAL" --json '{"text": "deployed"}' \
    --write-out '\n%{http_code} %header{proxy-status}' "http://$WEBHOOK_HOST/hook")
body=${answer%$'\n'*}

case ${answer##*$'\n'} in
  ???' keybearer; error='*) printf 'keybearer: %s\n' "$body" >&2 && exit 1 ;; # a problem in JSON, with code and hint
  2??' '*) printf '%s\n' "$body" ;;
  *) printf 'the destination answered %s\n' "${answer##*$'\n'}" >&2 && exit 1 ;;
esac
