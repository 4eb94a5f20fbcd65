"""A server on this machine that holds files and answers, knows ranges, and can fail in every way that servers do."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class FileServer:
    """What it holds, what it was asked, and how it fails.

    Attributes:
        files: content by path; what is not bytes is sent as JSON.
        faults: by path, what its next requests meet, first first: an HTTP status; ``("cut", n)``: the connection ends
            after n bytes; ``("stall", n)``: nothing comes after n bytes; ``("trickle", n)``: after n bytes one byte a
            tenth of a second; ``("body", bytes)``: other bytes in its place; ``("away", url)``: a redirect.
        tags: "etag", "date" or "" (neither).
        ranges: whether it knows them.
        lengths: "length", "chunked" or "" (neither).
        asked: (path, Range, If-Range) of every request.
        busiest: most requests that were open at once.
    """

    files: dict[str, object]
    faults: dict[str, list[object]] = field(default_factory=dict)
    tags: str = "etag"
    ranges: bool = True
    lengths: str = "length"
    stall_s: float = 15.0
    think_s: float = 0.0
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    busiest: int = 0
    url: str = ""
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def running(self) -> Iterator[FileServer]:
        """On a free port of this machine."""
        mine = self

        class Handler(_Handler):
            server_holds = mine

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

    def requests(self, path: str) -> list[tuple[str, str]]:
        """Range and If-Range of the requests for a file."""
        return [(asked, condition) for name, asked, condition in self.asked if name == path]


@contextlib.contextmanager
def scripted(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[Message]]]:
    """A server that gives these answers (status, headers, body), each once, whatever it is asked.

    Yields:
        its address, and the headers of the requests.
    """
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.headers)
            status, headers, body = left.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server_holds: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        held = self.server_holds
        with held._lock:
            held._open += 1
            held.busiest = max(held.busiest, held._open)
        try:
            with contextlib.suppress(ConnectionError):
                self._answer(held)
        finally:
            with held._lock:
                held._open -= 1

    def _answer(self, held: FileServer) -> None:
        path = unquote(urlsplit(self.path).path)
        asked, condition = self.headers.get("Range", ""), self.headers.get("If-Range", "")
        held.asked.append((path, asked, condition))
        faults = held.faults.get(path, [])
        fault = faults.pop(0) if faults else None
        if held.think_s:
            time.sleep(held.think_s)
        if isinstance(fault, int) or path not in held.files:
            self._plain(fault if isinstance(fault, int) else 404, b"on purpose")
            return
        content = held.files[path]
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind, detail = fault if isinstance(fault, tuple) else ("", b"")
        if kind == "away":
            self.send_response(302)
            self.send_header("Location", str(detail))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(held, data if kind != "body" else detail, asked, condition, kind, detail)

    def _plain(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send(self, held: FileServer, data: bytes, asked: str, condition: str, kind: str, detail: object) -> None:
        tag = f'"{hashlib.sha256(data).hexdigest()}"' if held.tags == "etag" else ""
        date = "Sat, 01 Feb 2020 00:00:00 GMT" if held.tags == "date" else ""
        start = 0
        if asked and held.ranges and condition in ("", tag or date):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self._plain(416, b"")
                return
        self.send_response(206 if start else 200)
        for name, value in (("ETag", tag), ("Last-Modified", date)):
            if value:
                self.send_header(name, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if held.lengths == "length":
            self.send_header("Content-Length", str(len(data) - start))
        elif held.lengths == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self._body(held, data[start:], kind, detail)

    def _body(self, held: FileServer, body: bytes, kind: str, detail: object) -> None:
        if kind in ("cut", "stall", "trickle"):
            assert isinstance(detail, int)
            self._piece(held, body[:detail])
            if kind == "stall":
                time.sleep(held.stall_s)
            if kind == "trickle":
                for at in range(detail, min(len(body), detail + int(held.stall_s * 20))):
                    self._piece(held, body[at:at + 1])
                    time.sleep(0.05)
            self.close_connection = True
            return
        self._piece(held, body)
        if held.lengths == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def _piece(self, held: FileServer, body: bytes) -> None:
        if held.lengths == "chunked" and body:
            body = f"{len(body):x}\r\n".encode() + body + b"\r\n"
        self.wfile.write(body)
        self.wfile.flush()
