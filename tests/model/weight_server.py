"""A local HTTP server that serves a weight file; it can cut, be slow, refuse ranges and replace the file."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTENT = bytes(i * 7 % 251 for i in range(3_000_000))
OTHER = bytes(i * 11 % 241 for i in range(3_000_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT at every …/w.pdparams; the server object says how badly, or what else."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        server.conditions.append(self.headers.get("If-Range"))
        if "/w.pdparams" not in self.path:
            self.send_error(404)
            return
        start = self._start()
        if start is not None and start >= len(server.content):
            self.send_response(416)
            self._send_version()
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(start)

    def _start(self):
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        condition = self.headers.get("If-Range")
        same = condition is None or not self.server.checks_condition or condition in self.server.version.values()
        return int(wanted[1]) if wanted and self.server.ranges and same else None

    def _send_version(self):
        for name, value in self.server.version.items():
            self.send_header(name, value)

    def _send(self, start):
        content = self.server.content
        body = content[start or 0 :]
        self.send_response(200 if start is None else 206)
        self._send_version()
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts > 0:
            self.server.cuts -= 1
            body = body[:1_200_000]
        for start in range(0, len(body), 100_000):
            self.wfile.write(body[start : start + 100_000])
            time.sleep(self.server.delay_s)
        self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def serving() -> Iterator[ThreadingHTTPServer]:
    """Serve until the block ends; the server's attributes may be changed meanwhile."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.cuts, server.ranges, server.delay_s = [], 0, True, 0
    server.content, server.version, server.conditions, server.checks_condition = CONTENT, {}, [], True
    server.url = f"http://127.0.0.1:{server.server_port}/w.pdparams"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def left_in(folder: Path) -> list[str]:
    """Return the files that a download left; the empty lock file stays."""
    return [entry.name for entry in folder.iterdir() if not entry.name.endswith(".lock")]
