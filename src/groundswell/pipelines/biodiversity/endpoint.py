"""biodiversity: batches for other programs on this machine, over HTTP with a binary body."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from groundswell.core.errors import InputError
from groundswell.core.progress import say
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity.batch import VISION, get_training_batch, observation_index
from groundswell.pipelines.biodiversity.ids import get_available_observation_ids, parse_observation_ids
from groundswell.pipelines.biodiversity.wire import BATCH, IDS, Layout

MOST_IDS = 1000
HOST = "127.0.0.1"
CHUNK_BYTES = 64 << 20
"""Vectors in memory at once for one request, however many it asks for; at least one vector."""
_MOST_BODY = 1 << 20
_AT_ONCE = 8
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class _RefusedRequestError(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, status: int, what: str, fix: str = "", **more: Any) -> None:
        super().__init__(what)
        self.status, self.answer = status, {"error": what, "fix": fix, **more}


class BatchServer(ThreadingHTTPServer):
    """Serves one store to programs on this machine: it listens on 127.0.0.1 and answers no other host name.

    ``POST /api/training/batch`` with JSON ``{"observation_ids": [...], "include_vision": true, "include_language":
    true, "vision_table": "vision"}``, 1 to 1,000 ids, the rest optional. The answer is a safetensors file:
    ``locations``, ``timestamps``, ``language_embeddings``, ``vision_embeddings`` as of :func:`get_training_batch`, and
    in its metadata the key ``batch``, JSON with ``species``, ``image_urls``, ``metadata``. Nothing is pickled.

    ``GET /api/training/ids?has_vision=true&has_language=true&limit=100`` answers JSON ``{"observation_ids": [...]}``.

    Errors are JSON ``{"error", "fix"}``: 400 for a request that is none, 404 for ids that are unknown (listed in
    ``observation_ids``) or without a vector, 413 for a body over 1 MiB.
    """

    daemon_threads = True

    def __init__(self, store: EmbeddingStore, port: int = 0) -> None:
        self.store, self.gate = store, threading.BoundedSemaphore(_AT_ONCE)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"Cannot listen on the port {port}: {error}", where=HOST,
                             fix="Choose another port, or 0 for a free one") from error

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.server_address[1]}"


def serve(store: Path, port: int = 0) -> None:
    """Serve a store until Ctrl-C.

    Args:
        store: its folder.
        port: on this machine; 0 takes a free one, which is said.

    Raises:
        InputError: there is no such store, it has no observations, or the port is taken.
    """
    opened = EmbeddingStore.open(Path(store))
    observation_index(opened)
    with BatchServer(opened, port) as server:
        say(f"Serving {store} at {server.url}; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


@contextlib.contextmanager
def serving(store: EmbeddingStore, port: int = 0) -> Iterator[str]:
    """Serve an open store from a thread of this process, for as long as the block runs; yields the address."""
    with BatchServer(store, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: BatchServer
    protocol_version = "HTTP/1.1"
    timeout = 60  # of a connection on which nothing moves

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(IDS, self._ids)

    def do_POST(self) -> None:
        self._answer(BATCH, self._batch)

    def _answer(self, path: str, make: Any) -> None:
        try:
            host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
            if host not in (HOST, "localhost"):  # a page of another site may have its name lead here
                raise _RefusedRequestError(403, f"This server is not '{host}'", f"Ask {self.server.url}")
            if urlsplit(self.path).path != path:
                raise _RefusedRequestError(404, f"There is nothing at {self.command} {self.path}",
                                           f"POST {BATCH} or GET {IDS}")
            make()
        except _RefusedRequestError as refused:
            self._json(refused.answer, refused.status)
        except InputError as error:
            self._json({"error": error.what, "fix": error.fix}, 404)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status != 200:
            self.send_header("Connection", "close")  # what is left of the request is not read
        self.end_headers()
        self.wfile.write(body)

    def _ids(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        unknown = set(query) - {"has_vision", "has_language", "limit"}
        flags = {name: _FLAGS.get(query.get(name, ["true"])[-1].lower()) for name in ("has_vision", "has_language")}
        limit = query.get("limit", [""])[-1]
        if unknown or None in flags.values() or not re.fullmatch("[0-9]{0,12}", limit):
            raise _RefusedRequestError(400, "The query holds something else than has_vision, has_language (true or "
                                            "false) and limit (a whole number)")
        self._json({"observation_ids": get_available_observation_ids(
            self.server.store, bool(flags["has_vision"]), bool(flags["has_language"]), int(limit) if limit else None)})

    # -- a batch -------------------------------------------------------------------------------------------------------

    def _request(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        stated = re.fullmatch("[0-9]+", length) is not None
        if not stated or len(length) > len(str(_MOST_BODY)) or int(length) > _MOST_BODY:
            raise _RefusedRequestError(413 if stated else 400, f"The body must be JSON of at most {_MOST_BODY} bytes, "
                                                               "its length stated")
        if self.headers.get_content_type() != "application/json":
            raise _RefusedRequestError(400, "The body must be application/json")
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except ValueError as error:
            raise _RefusedRequestError(400, f"The body is not JSON: {error}") from error
        known = {"observation_ids": list, "include_vision": bool, "include_language": bool, "vision_table": str}
        wrong = [name for name, value in asked.items() if not isinstance(value, known.get(name, type(None)))
                 ] if isinstance(asked, dict) else ["it is no object"]
        if wrong:
            raise _RefusedRequestError(400, f"The request holds what is not understood: {', '.join(wrong[:5])}",
                                       "Give observation_ids (a list), include_vision, include_language, vision_table")
        self._check_ids(asked.get("observation_ids"))
        return {"include_vision": True, "include_language": True, "vision_table": VISION, **asked}

    def _check_ids(self, ids: Any) -> None:
        if not ids or len(ids) > MOST_IDS:
            raise _RefusedRequestError(400, f"A batch has 1 to {MOST_IDS} observation_ids, not {len(ids or ())}")
        try:
            parse_observation_ids(ids)
        except InputError as error:
            raise _RefusedRequestError(400, error.what, error.fix) from error
        index = observation_index(self.server.store)
        lost = [name for name in dict.fromkeys(ids) if name not in index.row]
        if lost:
            raise _RefusedRequestError(404, f"{len(lost)} observation id(s) are not in the store: {', '.join(lost[:5])}"
                                       + (", ..." if len(lost) > 5 else ""), f"GET {IDS} lists those that are",
                                       observation_ids=lost)

    def _batch(self) -> None:
        asked = self._request()
        ids, store, table = asked["observation_ids"], self.server.store, asked["vision_table"]
        with self.server.gate:
            small = get_training_batch(store, ids, False, asked["include_language"])
            layout = Layout.of_batch(small)
            index = observation_index(store)
            rows = index.rows(ids)
            if asked["include_vision"]:
                if table not in store.tables or store.tables[table].key != "observation":
                    raise _RefusedRequestError(400, f"The store has no vision table '{table}'")
                there = store.present(table, index.gbif_ids[rows]) & (index.images[rows] == 1)
                if not there.all():  # the words for it are those of a batch that is read here
                    get_training_batch(store, [ids[i] for i in np.flatnonzero(~there)], True, False, vision_table=table)
                layout.add("vision_embeddings", "F32", (len(ids), *store.tables[table].shape))
            self._start(layout)
            for name in layout.held:
                self.wfile.write(layout.held[name])
            if asked["include_vision"]:
                self._vision(table, index.gbif_ids[rows])

    def _start(self, layout: Layout) -> None:
        head = layout.head()
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(head) + layout.bytes))
        self.end_headers()
        self.wfile.write(head)

    def _vision(self, table: str, ids: Any) -> None:
        """Send vectors a few at a time: a thousand full ones are 26 GB."""
        spec = self.server.store.tables[table]
        few = max(1, CHUNK_BYTES // (4 * spec.values))
        buffer = np.empty((min(few, len(ids)), *spec.shape), np.float32)
        for start in range(0, len(ids), few):
            some = ids[start:start + few]
            try:
                self.server.store.read(table, some, buffer[:len(some)])
            except InputError as error:  # the answer has begun: all that is left is to break it off
                raise ConnectionAbortedError(str(error)) from error
            self.wfile.write(buffer[:len(some)].reshape(-1).view(np.uint8).data)
