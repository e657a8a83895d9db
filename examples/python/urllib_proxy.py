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


# The request is told its proxy: a ProxyHandler would obey NO_PROXY, and ask a host named there without Keybearer.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects)

request = urllib.request.Request(
    f"http://{os.environ['WEBHOOK_HOST']}/hook",
    data=json.dumps({"text": "deployed"}).encode(),
    headers={
        "Content-Type": "application/json",
        "Keybearer-Credential": os.environ["KEYBEARER_CREDENTIAL"],
        "Proxy-Authorization": f"Bearer {os.environ['KEYBEARER_TOKEN']}",
    },
)
request.set_proxy(urlsplit(os.environ["KEYBEARER_URL"]).netloc, "http")
try:
    with opener.open(request, timeout=30) as answer:
        print(answer.read().decode())
except urllib.error.HTTPError as error:
    if error.headers.get("Proxy-Status", "").startswith("keybearer; error="):
        problem = json.load(error)
        sys.exit(f"keybearer: {problem['code']}: {problem['detail']}\nhint: {problem['hint']}")
    sys.exit(f"the destination answered {error.code}")
