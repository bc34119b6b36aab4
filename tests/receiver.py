"""A receiver of webhooks: a real HTTP server on the loopback that notes what it gets and answers as it is told; what to send it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sqlalchemy import text

from db import record, webhooks
from db.rows import StudyRow
from db.session import Store
from db.webhook_rows import DeliveryRow
from search.delivering import Sending

HERE = Sending(to_private=True, poll_s=0.02)


@dataclass(frozen=True)
class Got:
    """One request: its path, its headers in lower case, its body."""

    path: str
    headers: dict[str, str]
    body: bytes

    def is_signed_by(self, secret: str) -> bool:
        """Returns whether the signature is what the specification says, computed here from scratch."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        told = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        return self.headers["webhook-signature"] == "v1," + base64.b64encode(hmac.new(key, told, hashlib.sha256).digest()).decode()


class Receiver:
    """`answers` are the statuses to come, the last one for ever; a negative one keeps silent until the end."""

    def __init__(self, answers: list[int], tls: ssl.SSLContext | None = None) -> None:
        self.answers, self.got = answers, list[Got]()
        self.headers: dict[str, str] = {}
        self.over = threading.Event()
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.note(Got(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                if status < 0:
                    receiver.over.wait(30)
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as the base class calls it)
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?from=trimtab"

    def note(self, got: Got) -> int:
        """Returns the status for a request, now noted."""
        with self._lock:
            self.got.append(got)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def receiving(*answers: int, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Yields a receiver that answers so, 204 by default."""
    receiver = Receiver(list(answers) or [204], tls)
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()


def ended(store: Store, name: str = "chat") -> StudyRow:
    """Returns a study that is done."""
    fixed: dict[str, Any] = {"request": {}, "versions": {}, "kernel_digest": "k0"}
    study = record.create_study(store, name=name, digest="d0", seed=0, **fixed)
    return record.finish_study(store, study.id, "done", {"sentence": "caf\u00e9"})


def hook(store: Store, receiver: Receiver) -> str:
    """Returns the secret of a webhook that leads to the receiver."""
    return webhooks.add(store, receiver.url)[1]


def only(store: Store) -> DeliveryRow:
    """Returns the one delivery that there is."""
    (row,) = webhooks.deliveries(store)
    return row


def make_due(store: Store) -> None:
    """Lets every delivery that waits for its next attempt be due now."""
    with store.write() as session:
        session.execute(text("UPDATE webhook_deliveries SET not_before = created_at"))
