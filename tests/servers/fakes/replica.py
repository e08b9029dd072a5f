"""A stand-in for a `batched` server, quick to start: python replica.py MODE --port N --stop-with-parent.

Modes: good; broken (ends before it is ready); stubborn (ignores SIGTERM); silent (never says that it is ready); mute
(closes its output and lives on).
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

EXIT_PORT_TAKEN = 75  # servers/exits.py


class OwnPort(HTTPServer):
    allow_reuse_address = False


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def main(mode: str, port: int) -> None:
    if mode == "broken":
        sys.exit("no model here")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else lambda *_: os._exit(0))
    try:
        server = OwnPort(("127.0.0.1", port), Handler)
    except OSError:
        sys.exit(EXIT_PORT_TAKEN)
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    print("a line for the log", file=sys.stderr, flush=True)
    print("loading, not the ready line", flush=True)
    if mode == "mute":
        os.close(1)
        threading.Event().wait()
    if mode == "silent":
        threading.Event().wait()
    print(json.dumps({"ready": True, "port": port, "pid": os.getpid()}), flush=True)
    server.serve_forever()


main(sys.argv[1], int(sys.argv[sys.argv.index("--port") + 1]))
