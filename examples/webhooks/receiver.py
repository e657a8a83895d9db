"""A receiver of webhooks that verifies what it gets, on TLS of its own:

POST /hook    the credential that Keybearer writes
POST /slack   besides, the app's signature over time and body, made as Slack makes it (v0)
POST /github  besides, the app's signature over the body, made as GitHub makes it; each delivery counts once
"""

import hashlib
import hmac
import http.server
import json
import os
import secrets
import ssl
import threading
import time

WINDOW = 300  # seconds: how old a signed request may be, and how long it is remembered
MAX_BODY = 64 << 10


def read(variable):
    with open(os.environ[variable], "rb") as file:
        return file.read().strip()


SIGNING_KEY = read("SIGNING_KEY_FILE")
CREDENTIALS = read("CREDENTIALS_FILE").split()  # more than one while the secret is being replaced
if not SIGNING_KEY or not CREDENTIALS:
    raise SystemExit("SIGNING_KEY_FILE and CREDENTIALS_FILE name files with something in them")


class Refused(Exception):
    def __init__(self, status, why):
        self.status, self.why = status, why


def authorized(fields):
    """One Authorization field, so that nobody has to choose between two; every credential is compared: the time tells nothing."""
    if len(fields) != 1 or not fields[0].startswith("Bearer "):
        return False
    given = hashlib.sha256(fields[0].removeprefix("Bearer ").encode("latin-1")).digest()
    return any([hmac.compare_digest(given, hashlib.sha256(c).digest()) for c in CREDENTIALS])


def signed(signature, prefix, before, body):
    """Takes the bytes as they came, before anything parses them."""
    right = prefix + hmac.new(SIGNING_KEY, before.encode("latin-1") + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature.encode("latin-1"), right.encode()):
        raise Refused(403, "the signature is missing or wrong")


def slack(headers, body):
    stamp, signature = headers.get("X-Slack-Request-Timestamp", ""), headers.get("X-Slack-Signature", "")
    if not stamp.isdecimal() or abs(time.time() - int(stamp)) > WINDOW:
        raise Refused(403, "the signature is missing or wrong")
    signed(signature, "v0=", f"v0:{stamp}:", body)
    once(signature)


def github(headers, body):
    signed(headers.get("X-Hub-Signature-256", ""), "sha256=", "", body)
    once(headers.get("X-GitHub-Delivery", ""))


seen = {}  # what was accepted, until when it must be known
seen_lock = threading.Lock()


def once(name):
    """Refuses what was seen within the window. Several receivers would share this memory."""
    now = time.monotonic()
    with seen_lock:
        for old in [old for old, until in seen.items() if until < now]:
            del seen[old]
        if not name or name in seen:
            raise Refused(409, "this was received before")
        seen[name] = now + 2 * WINDOW  # a stamp may lie in the future by as much as in the past


VERIFY = {"/hook": lambda headers, body: None, "/slack": slack, "/github": github}


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        self.unread = int(length) if length.isdecimal() and "Transfer-Encoding" not in self.headers else None
        try:
            status, answer = 200, {"id": self.receive()}
        except Refused as refused:
            status, answer = refused.status, {"error": refused.why}
        # What was not read is read off, or the next request could not be told from it; much of it costs the connection.
        close = self.unread is None or self.unread > 4 * MAX_BODY
        if not close:
            self.rfile.read(self.unread)
        text = json.dumps(answer).encode()
        self.send_response(status)
        if close:
            self.send_header("Connection", "close")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def receive(self):
        """Verifies the credential before it reads a body, then the body, then what else the path asks for."""
        if self.path not in VERIFY:
            raise Refused(404, "there is nothing here")
        if not authorized(self.headers.get_all("Authorization", [])):
            raise Refused(401, "the credential is missing or wrong")
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "the body must be application/json")
        if self.unread is None:
            raise Refused(411, "the body must say its length")
        if self.unread > MAX_BODY:
            raise Refused(413, "the body is too large")
        body, self.unread = self.rfile.read(self.unread), 0
        VERIFY[self.path](self.headers, body)
        try:
            json.loads(body)
        except ValueError:
            raise Refused(400, "the body is not JSON") from None
        name = secrets.token_hex(16)
        print("received", name, self.path, flush=True)  # here the work would be put into a queue
        return name

    def log_message(self, *_):
        pass


host, port = os.environ["LISTEN"].rsplit(":", 1)
server = http.server.ThreadingHTTPServer((host, int(port)), Receiver)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
# The handshake is left to the thread of the connection: a slow one holds nobody up.
server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
