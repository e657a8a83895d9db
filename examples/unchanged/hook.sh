#!/bin/sh
# Posts a webhook, and has never heard of Keybearer.
exec curl --silent --show-error --fail-with-body --max-time 30 --json '{"text": "deployed"}' "$WEBHOOK_URL"
