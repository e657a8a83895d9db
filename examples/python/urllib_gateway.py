"""Sends a webhook through Keybearer as its base URL, with nothing but Python's own library."""

import json
import os
import sys
import urllib.error
import urllib.request


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


# An empty ProxyHandler: no proxy of the environment on the way to Keybearer.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects)

request = urllib.request.Request(
    f"{os.environ['KEYBEARER_URL']}/hook",
    data=json.dumps({"text": "deployed"}).encode(),
    headers={
        "Authorization": f"Bearer {os.environ['KEYBEARER_TOKEN']}",
        "Content-Type": "application/json",
        "Keybearer-Credential": os.environ["KEYBEARER_CREDENTIAL"],
        "Keybearer-Destination": f"https://{os.environ['WEBHOOK_HOST']}",
    },
)
try:
    with opener.open(request, timeout=30) as answer:
        print(answer.read().decode())
except urllib.error.HTTPError as error:
    if error.headers.get("Proxy-Status", "").startswith("keybearer; error="):
        problem = json.load(error)
        sys.exit(f"keybearer: {problem['code']}: {problem['detail']}\nhint: {problem['hint']}")
    sys.exit(f"the destination answered {error.code}")
