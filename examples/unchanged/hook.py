"""Posts a webhook, and has never heard of Keybearer."""

import os

import requests

answer = requests.post(os.environ["WEBHOOK_URL"], json={"text": "deployed"}, timeout=30)
print(answer.text)
answer.raise_for_status()
