"""Sends a webhook through Keybearer as its base URL, with httpx."""

import os
import sys

import httpx

client = httpx.Client(
    base_url=os.environ["KEYBEARER_URL"],
    headers={
        "Authorization": f"Bearer {os.environ['KEYBEARER_TOKEN']}",
        "Keybearer-Credential": os.environ["KEYBEARER_CREDENTIAL"],
        "Keybearer-Destination": f"https://{os.environ['WEBHOOK_HOST']}",
    },
    timeout=30,
    trust_env=False,  # no proxy of the environment on the way to Keybearer
)
with client:
    answer = client.post("/hook", json={"text": "deployed"})
if answer.headers.get("Proxy-Status", "").startswith("keybearer; error="):
    problem = answer.json()
    sys.exit(f"keybearer: {problem['code']}: {problem['detail']}\nhint: {problem['hint']}")
if not answer.is_success:
    sys.exit(f"the destination answered {answer.status_code}")
print(answer.text)
