#!/usr/bin/env bash
# Sends a webhook through Keybearer as its base URL: path and query are the destination's.
set -euo pipefail
: "${KEYBEARER_URL:?}" "${KEYBEARER_TOKEN:?}" "${KEYBEARER_CREDENTIAL:?}" "${WEBHOOK_HOST:?}"

# The token goes in by standard input: other users of the machine can read arguments.
answer=$(printf 'Authorization: Bearer %s' "$KEYBEARER_TOKEN" |
  curl --silent --show-error --max-time 30 --noproxy '*' --header @- \
    --header "Keybearer-Credential: $KEYBEARER_CREDENTIAL" --header "Keybearer-Destination: https://$WEBHOOK_HOST" \
    --json '{"text": "deployed"}' --write-out '\n%{http_code} %header{proxy-status}' "$KEYBEARER_URL/hook")
body=${answer%$'\n'*}

case ${answer##*$'\n'} in
  ???' keybearer; error='*) printf 'keybearer: %s\n' "$body" >&2 && exit 1 ;; # a problem in JSON, with code and hint
  2??' '*) printf '%s\n' "$body" ;;
  *) printf 'the destination answered %s\n' "${answer##*$'\n'}" >&2 && exit 1 ;;
esac
