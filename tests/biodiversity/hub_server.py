"""A server on this machine that speaks the few routes of the Hugging Face hub that a download needs, and can fail."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
REPO = "owner/plants"


@dataclass
class Hub:
    """What it holds, what it was asked, and how it fails.

    Attributes:
        files: content by path.
        faults: by path, what the next requests for its content meet, first first: an HTTP status; ``("cut", n)``: the
            connection ends after n bytes; ``("stall", n)``: nothing comes after n bytes; ``"wrong"``: other bytes.
        asked: (method, path, Range header) of every request for content.
        agents: User-Agent and Authorization headers of every request.
    """

    files: dict[str, bytes]
    faults: dict[str, list[object]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    agents: list[tuple[str, str | None]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    stall_s: float = 3.0
    url: str = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[Hub]:
        """On a free port of this machine."""
        hub = self

        class Handler(_Handler):
            held = hub

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def bodies(self, path: str) -> list[str]:
        """Range headers of the GET requests for a file."""
        return [asked for method, name, asked in self.asked if method == "GET" and name == path]


class _Handler(BaseHTTPRequestHandler):
    held: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.held.agents.append((self.headers.get("User-Agent", ""), self.headers.get("Authorization")))
        path = unquote(urlsplit(self.path).path)
        content = f"/datasets/{REPO}/resolve/{COMMIT}/"
        if path in (f"/api/datasets/{REPO}", f"/api/datasets/{REPO}/revision/main"):
            self._json({"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.held.files]})
        elif path == f"/api/datasets/{REPO}/tree/{COMMIT}":
            self._json([_entry(name, data) for name, data in self.held.files.items()])
        elif path.startswith(content) and path.removeprefix(content) in self.held.files:
            self._content(path.removeprefix(content))
        else:
            self.held.others.append(path)
            known = path.startswith(f"/api/datasets/{REPO}/")
            self._json({"error": "not found"}, 404, "RevisionNotFound" if known else "RepoNotFound")

    def _json(self, value: object, status: int = 200, code: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def _content(self, name: str) -> None:
        data, asked = self.held.files[name], self.headers.get("Range", "")
        self.held.asked.append((self.command, name, asked))
        faults = self.held.faults.get(name, [])
        fault = faults.pop(0) if faults and self.command == "GET" else None
        if isinstance(fault, int):
            self._json({"error": "on purpose"}, fault)
            return
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        body = bytes(255 - byte for byte in data[start:]) if fault == "wrong" else data[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if isinstance(fault, tuple):
            kind, count = fault
            self.wfile.write(body[:count])
            self.wfile.flush()
            if kind == "stall":
                time.sleep(self.held.stall_s)
            self.close_connection = True
            return
        self.wfile.write(body)


def _entry(name: str, data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    return {"type": "file", "path": name, "size": len(data), "oid": "0" * 40,
            "lfs": {"oid": digest, "size": len(data), "pointerSize": 100}}
