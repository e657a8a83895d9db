"""Sends a webhook through Keybearer that the app also signs, with a key of its own: signed.py slack|github

Keybearer holds the credential and signs nothing. Whoever wants the body signed, signs it; path, query and body go out byte
for byte, so that the signature holds at the receiver.
"""

import hashlib
import hmac
import json
import os
import sys
import time
import uuid

import requests

with open(os.environ["SIGNING_KEY_FILE"], "rb") as file:
    signing_key = file.read().strip()


def mac(message):
    return hmac.new(signing_key, message, hashlib.sha256).hexdigest()


# What is signed is what is sent. The id makes two messages of one second differ, which a receiver would take for a replay.
body = json.dumps({"id": str(uuid.uuid4()), "text": "deployed"}).encode()
like = sys.argv[1]
if like == "slack":
    stamp = str(int(time.time()))
    signature = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": "v0=" + mac(f"v0:{stamp}:".encode() + body)}
else:
    signature = {"X-GitHub-Delivery": str(uuid.uuid4()), "X-GitHub-Event": "deployment", "X-Hub-Signature-256": "sha256=" + mac(body)}

session = requests.Session()
session.trust_env = False  # or a .netrc would take the place of the token
answer = session.post(
    f"{os.environ['KEYBEARER_URL']}/{like}",
    headers={
        "Authorization": f"Bearer {os.environ['KEYBEARER_TOKEN']}",
        "Content-Type": "application/json",
        "Keybearer-Credential": os.environ["KEYBEARER_CREDENTIAL"],
        "Keybearer-Destination": f"https://{os.environ['WEBHOOK_HOST']}",
        **signature,
    },
    data=body,
    allow_redirects=False,
    timeout=30,
)
if answer.headers.get("Proxy-Status", "").startswith("keybearer; error="):
    problem = answer.json()
    sys.exit(f"keybearer: {problem['code']}: {problem['detail']}\nhint: {problem['hint']}")
if answer.status_code // 100 != 2:
    sys.exit(f"the destination answered {answer.status_code}")
print(answer.text)
