"""Sends a plan of requests with Python's urllib through Keybearer.

Reads a JSON list of requests from stdin and writes one JSON line for each answer:
{"id", "status", "answered" (the IDHeader of the answer), "by" (Proxy-Status), "body"}.
"""

import concurrent.futures
import json
import sys
import urllib.error
import urllib.request

plan = json.load(sys.stdin)


def send(job):
    proxies = {"http": job["proxy"]} if job["proxy"] else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    body = job["body"].encode() if job["body"] else None
    request = urllib.request.Request(job["url"], data=body, headers=job["headers"], method=job["method"])
    try:
        answer = opener.open(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return {
            "id": job["id"],
            "status": answer.status,
            "answered": answer.headers.get("X-Test-Id", ""),
            "by": answer.headers.get("Proxy-Status", ""),
            "body": answer.read().decode(),
        }


with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
    for result in pool.map(send, plan):
        print(json.dumps(result))
