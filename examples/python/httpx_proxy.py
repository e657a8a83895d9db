"""Sends a webhook through Keybearer as its proxy, with httpx."""

import os
import sys

import httpx

# A transport takes its proxy in every version of httpx, and with one the client looks for none in the environment. The
# token is a header for the proxy alone.
proxy = httpx.Proxy(
    os.environ["KEYBEARER_URL"],
    headers={"Proxy-Authorization": f"Bearer {os.environ['KEYBEARER_TOKEN']}"},
)
with httpx.Client(transport=httpx.HTTPTransport(proxy=proxy), timeout=30) as client:
    answer = client.post(
        f"http://{os.environ['WEBHOOK_HOST']}/hook",
        headers={"Keybearer-Credential": os.environ["KEYBEARER_CREDENTIAL"]},
        json={"text": "deployed"},
    )
if answer.headers.get("Proxy-Status", "").startswith("keybearer; error="):
    problem = answer.json()
    sys.exit(f"keybearer: {problem['code']}: {problem['detail']}\nhint: {problem['hint']}")
if not answer.is_success:
    sys.exit(f"the destination answered {answer.status_code}")
print(answer.text)
