"""A server that behaves as it is told: `fake_server.py PORT BEHAVIOUR [FILE]`; for tests of what becomes of such servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

port, behaviour = int(sys.argv[1]), sys.argv[2]
# Where the processes are told of that have to be gone afterwards.
told = Path(sys.argv[3]) if len(sys.argv) > 3 else None
answered = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        return

    def do_GET(self) -> None:
        self.answer(503 if behaviour == "never_ready" else 200, b"")

    def do_POST(self) -> None:
        global answered
        answered += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        if behaviour == "dies" and answered > 1:
            print("RuntimeError: the engine core is lost", flush=True)
            os._exit(3)
        if behaviour == "oom_later" and answered > 1:
            print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", flush=True)
            os._exit(1)
        if behaviour == "500":
            self.answer(500, b'{"error": "boom"}')
        elif behaviour == "404":
            self.answer(404, b'{"error": "no such model"}')
        elif behaviour == "malformed":
            self.answer(200, b"data: {broken\n\n")
        elif behaviour == "not_a_stream":
            self.answer(200, json.dumps({"choices": [{"text": "x"}]}).encode())
        elif behaviour == "empty":
            self.answer(200, b"data: [DONE]\n\n")
        elif behaviour == "garbage":
            self.wfile.write(b"\x00\x01 not http\r\n\r\n")
            self.close_connection = True
        else:
            event = {"choices": [{"index": 0, "text": "x", "finish_reason": "length"}]}
            self.answer(200, f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    if behaviour == "oom":
        print(
            "INFO loading\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 3 GiB free\nbye",
            flush=True,
        )
        sys.exit(1)
    if behaviour == "dies_at_once":
        print("ValueError: no such thing", flush=True)
        sys.exit(7)
    workers = []
    if behaviour in ("family", "stubborn"):
        # One worker in the group and one in a session of its own, which no signal to the group reaches.
        stay = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
        for apart in (False, True):
            workers.append(subprocess.Popen([sys.executable, "-S", "-c", stay], start_new_session=apart))
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if told is not None:
        told.write_text(" ".join(map(str, [os.getpid(), *(worker.pid for worker in workers)])))
    if behaviour == "killed":
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
        time.sleep(5)
    if behaviour == "late":
        time.sleep(1)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


main()
