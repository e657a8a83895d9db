"""Sends a webhook through Keybearer as its proxy, with requests."""

import os
import sys
from urllib.parse import urlsplit

import requests

keybearer = urlsplit(os.environ["KEYBEARER_URL"])

session = requests.Session()
# The token belongs to the proxy's URL, so that no other host can get it; the user "_" names no credential, as the header does.
session.proxies = {"http": f"http://_:{os.environ['KEYBEARER_TOKEN']}@{keybearer.netloc}"}
session.trust_env = False  # or proxies of the environment would win over the line above

answer = session.post(
    f"http://{os.environ['WEBHOOK_HOST']}/hook",
    headers={"Keybearer-Credential": os.environ["KEYBEARER_CREDENTIAL"]},
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
