"""Sends a webhook through Keybearer as its base URL, with requests."""

import os
import sys

import requests

session = requests.Session()
session.trust_env = False  # or a .netrc would take the place of the token

answer = session.post(
    f"{os.environ['KEYBEARER_URL']}/hook",
    headers={
        "Authorization": f"Bearer {os.environ['KEYBEARER_TOKEN']}",
        "Keybearer-Credential": os.environ["KEYBEARER_CREDENTIAL"],
        "Keybearer-Destination": f"https://{os.environ['WEBHOOK_HOST']}",
    },
    json={"text": "deployed"},
    allow_redirects=False,
    timeout=30,
)
if answer.headers.get("Proxy-Status", "").startswith("keybearer; error="):
    problem = answer.json()
    sys.exit(f"keybearer: {problem['code']}: {problem['detail']}\nhint: {problem['hint']}")
if answer.status_code // 100 != 2:
    sys.exit(f"the destination answered {answer.status_code}")
print(answer.text)
