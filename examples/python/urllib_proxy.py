"""Sends a webhook through Keybearer as its proxy, with nothing but Python's own library."""

import json
import os
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


keybearer = urlsplit(os.environ["KEYBEARER_URL"])
# The token belongs to the proxy's URL; the user "_" names no credential, as the header does.
proxy = {"http": f"http://_:{os.environ['KEYBEARER_TOKEN']}@{keybearer.netloc}"}
opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxy), NoRedirects)

request = urllib.request.Request(
    f"http://{os.environ['WEBHOOK_HOST']}/hook",
    data=json.dumps({"text": "deployed"}).encode(),
    headers={
        "Content-Type": "application/json",
        "Keybearer-Credential": os.environ["KEYBEARER_CREDENTIAL"],
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
