"""marine: a small HTTP service that finds animals in images, for Cloud Run, Vertex AI or a machine of one's own.

``python -m groundswell.pipelines.marine.deploying.serving --model models``

``GET /health`` says whether it is ready. ``POST /predict`` takes an image (its bytes), or Vertex's form
``{"instances": [{"b64": "..."}]}``, and answers ``{"predictions": [...]}``. It listens on loopback unless another
address is given, and asks nobody who they are: what stands before it in the cloud has to. SIGTERM and Ctrl-C end it
with exit status 0, after those requests that have arrived are answered.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import GroundswellError, InputError
from groundswell.pipelines.marine.deploying.limits import Arriving, Places

MOST_BYTES = 24 * 2**20
"""Of a request."""
MOST_IMAGES = 16
"""In a request."""
MOST_PIXELS = 40_000_000
"""Of an image."""
MOST_PIXELS_IN_ALL = 200_000_000
"""Of a request's images together: they are looked at while others wait."""
AT_ONCE = 8
"""Requests that have arrived and may wait for the one that is computed."""
MOST_HELD = (AT_ONCE + 4) * MOST_BYTES
"""Bytes of all requests that wait or arrive. What was promised and not sent takes none of them."""
MOST_LINKS = 128
"""Connections that may be open; each has a thread."""
TIMEOUT_S = 60.0
"""For a request to arrive whole (24 MiB take it at 3.4 Mbit/s), and for its answer to be taken."""
STOP_S = 5.0
"""For what still arrives when it is told to stop; clouds and container engines kill after ten seconds."""
_CHUNK = 65536
_STOPS = (signal.SIGTERM, signal.SIGINT)


class _Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Service(ThreadingHTTPServer):
    """Answers requests with one detector, one at a time.

    Args:
        detector: finds boxes in images.
        host, port: to listen on; port 0 takes a free one.
        routes: paths of health and prediction.
    """

    daemon_threads = True
    request_queue_size = MOST_LINKS

    def __init__(self, detector: Any, host: str = "127.0.0.1", port: int = 8080, *,
                 routes: tuple[str, str] = ("/health", "/predict")) -> None:
        self.detector, self.routes = detector, routes
        self.computing = threading.Lock()
        self.seats, self.held, self.links = Places(AT_ONCE), Places(MOST_HELD), Places(MOST_LINKS)
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for a connection, where one is left."""
        if not self.links.take():
            request.settimeout(0)
            with contextlib.suppress(OSError):
                request.send(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread was to be had
            self.links.give()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, in the connection's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.links.give()

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """End ``serve_forever``, soon; also from a signal's handler."""
        threading.Thread(target=self.shutdown, daemon=True).start()  # it waits for the loop that a handler interrupts

    def finish(self) -> None:
        """Listen no longer, and come back when the requests that have arrived are answered."""
        self.server_close()
        if not self.links.empty(STOP_S):
            self.seats.empty()
            self.links.empty(1.0)  # the last answer is on its way

    def predict(self, images: Iterable[NDArray[np.uint8]]) -> dict[str, Any]:
        """Boxes from each class's threshold on, JSON-able.

        Args:
            images: each (h, w, 3), RGB. They are asked for one by one and not kept, while no other request computes: of
                all requests together one decoded image is in memory.
        """
        with self.computing:
            answers = list(map(self._found, images))  # a loop's variable would keep an image while the next is decoded
        return {"predictions": answers, "calibrated": self.detector.calibrator is not None,
                "simulated": self.detector.simulated}

    def _found(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        detector = self.detector
        boxes, score, label = detector.counted(detector([image])[0])
        return {"width": image.shape[1], "height": image.shape[0], "boxes": [
            {"box": [round(float(v), 2) for v in box], "category": detector.classes[k],
             "priority": detector.priority[k], "score": round(float(s), 5)}
            for box, s, k in zip(boxes, score, label, strict=True)]}


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Service
    server_version = "groundswell"
    sys_version = ""
    held = 0

    def setup(self) -> None:
        """One deadline for the request's head and body together."""
        super().setup()
        self.connection.settimeout(TIMEOUT_S)
        self.rfile.close()
        self.rfile = io.BufferedReader(Arriving(self.connection, TIMEOUT_S))

    def do_GET(self) -> None:
        """Health."""
        if self.path not in ("/health", self.server.routes[0]):
            self._send(404, {"error": "There is only /health to get, and /predict to post to."})
            return
        self._send(200, {"status": "ready", "classes": list(self.server.detector.classes),
                         "simulated": self.server.detector.simulated})

    def do_POST(self) -> None:
        """Prediction."""
        try:
            if self.path not in ("/predict", self.server.routes[1]):
                raise _Refused(404, "Images are posted to /predict.")
            body = self._body()
            if not self.server.seats.take():  # not before: who only promises a body would keep others out
                raise _Refused(503, "Too many requests at once; try again.")
            try:
                answer = self.server.predict(_images(body, self.headers.get("Content-Type", "")))
            finally:
                self.server.seats.give()
            self._send(200, answer)
        except _Refused as error:
            self._send(error.status, {"error": error.why})
        except GroundswellError as error:
            self._send(400 if isinstance(error, InputError) else 500, {"error": str(error)})
        finally:
            self.server.held.give(self.held)

    def _body(self) -> bytes:
        told = self.headers.get("Content-Length", "")
        if not told.isdecimal():
            raise _Refused(411, "The request has to say how long it is (Content-Length).")
        digits = told.lstrip("0") or "0"
        if len(digits) > len(str(MOST_BYTES)) or int(digits) > MOST_BYTES:  # int() refuses thousands of digits
            raise _Refused(413, f"A request may have {MOST_BYTES} bytes at most.")
        length = int(digits)
        body = io.BytesIO()
        while missing := length - body.tell():
            try:
                data = self.rfile.read(min(missing, _CHUNK))
            except TimeoutError as error:
                raise _Refused(408, f"The request did not arrive within {TIMEOUT_S:g} s.") from error
            if not data:
                raise _Refused(400, "The request broke off.")
            if not self.server.held.take(len(data)):
                raise _Refused(503, "Too many requests at once; try again.")
            self.held += len(data)
            body.write(data)
        return body.getvalue()

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer, allow_nan=False).encode()
        self.close_connection = True  # what is left of a body is not read
        with contextlib.suppress(ConnectionError, TimeoutError):  # it did not wait for its answer
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """One line a request, on stderr; what others sent cannot break it."""
        sys.stderr.write(f"{self.address_string()} {format % args!r}\n")


def _images(body: bytes, kind: str) -> Iterator[NDArray[np.uint8]]:
    """Images of a request, decoded when they are asked for. So is its JSON: empty lists take many times their bytes."""
    if not kind.split(";")[0].strip().lower().endswith("json"):
        yield _decoded(body, "the request")
        return
    try:
        instances = json.loads(body)["instances"]
        texts = [one["b64"] if "b64" in one else one["image_bytes"]["b64"] for one in instances]
        data = [base64.b64decode(text, validate=True) for text in texts]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise _Refused(400, 'JSON has the form {"instances": [{"b64": "..."}]}, with images in base64.') from error
    del instances, texts
    if not 1 <= len(data) <= MOST_IMAGES:
        raise _Refused(400, f"A request has 1 to {MOST_IMAGES} images.")
    pixels = 0
    for number, one in enumerate(data):
        image = _decoded(one, f"instance {number}")
        pixels += image.shape[0] * image.shape[1]
        if pixels > MOST_PIXELS_IN_ALL:
            raise _Refused(413, f"The images of a request may have {MOST_PIXELS_IN_ALL} pixels in all at most.")
        yield image
        del image  # before the next one is decoded


def _decoded(data: bytes, where: str) -> NDArray[np.uint8]:
    from groundswell.pipelines.marine.image_files import decode

    large = _Refused(413, f"An image may have {MOST_PIXELS} pixels at most ({where}).")
    try:
        image = decode(data, where)
    except InputError as error:
        if "CV_IO_MAX_IMAGE" in error.what:  # OpenCV's own limit, which it heeds before it takes memory
            raise large from error
        raise
    if image.shape[0] * image.shape[1] > MOST_PIXELS:
        raise large
    return image


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit status."""
    parser = argparse.ArgumentParser(prog="serving", description="Find animals in images over HTTP.")
    port = os.environ.get("AIP_HTTP_PORT") or os.environ.get("PORT") or "8080"  # Vertex's name for it, Cloud Run's
    parser.add_argument("--model", type=Path, required=True, help="folder with ensemble.json, or .onnx file")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; in a container 0.0.0.0")
    parser.add_argument("--port", type=int, default=port)
    given = parser.parse_args(arguments)
    # Read by OpenCV when it is loaded: a few bytes can claim to be an image that fills the memory.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))
    try:
        # Process 1 of a container, which this is in ours, does not hear signals that it has no handler for.
        with _told_to_stop(_leave):
            service = _open(given.model, given.host, given.port)
            sys.stderr.write(f"listening on http://{given.host}:{service.server_address[1]}\n")
            sys.stderr.flush()
            with _told_to_stop(service.stop):
                service.serve_forever()
                service.finish()
    except GroundswellError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


def _open(model: Path, host: str, port: int) -> Service:
    from groundswell.pipelines.marine.detecting import open_detector

    detector = open_detector(model)
    routes = (os.environ.get("AIP_HEALTH_ROUTE", "/health"), os.environ.get("AIP_PREDICT_ROUTE", "/predict"))
    try:
        return Service(detector, host, port, routes=routes)
    except OSError as error:
        raise InputError(f"Cannot listen there: {error.strerror}", where=f"{host}:{port}") from error


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


@contextlib.contextmanager
def _told_to_stop(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _STOPS}
    try:
        yield
    finally:
        for number, other in before.items():
            signal.signal(number, other)


if __name__ == "__main__":
    sys.exit(main())
