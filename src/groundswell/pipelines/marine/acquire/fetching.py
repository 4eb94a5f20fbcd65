"""marine: many images fetched side by side, shrunk, and remembered, so that a killed download goes on where it was."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

from groundswell.core.errors import FailureError, GroundswellError
from groundswell.core.files import is_full, write_bytes
from groundswell.core.progress import progress
from groundswell.pipelines.marine.acquire.http import download
from groundswell.pipelines.marine.acquire.shrinking import fitted
from groundswell.pipelines.marine.acquire.web import Patience, Stopped
from groundswell.pipelines.marine.image_files import checksum

MOST_BYTES = 256 << 20
"""Of one image file."""
_IN_A_ROW = 30
"""Images that fail one after another before the server is taken to be gone."""


@dataclass(frozen=True)
class Fetched:
    """An image that arrived; a line of the journal.

    Attributes:
        name: of the image.
        file: in the folder, shrunk.
        checksum: of its bytes.
        size: width and height, pixels.
        original: width and height before it was shrunk.
    """

    name: str
    file: str
    checksum: str
    size: tuple[int, int]
    original: tuple[int, int]


class Fetching:
    """Fetches images into a folder, at most so many at once.

    Args:
        folder: for ``images/``, ``arriving/`` and ``journal.jsonl``.
        at_once: downloads side by side.
        patience: tries and waits of each.
        stop: ends all.
    """

    def __init__(self, folder: Path, *, at_once: int, patience: Patience, stop: threading.Event | None = None) -> None:
        self._folder, self._at_once, self._patience = folder, at_once, patience
        self._stop = stop or threading.Event()
        (folder / "images").mkdir(parents=True, exist_ok=True)
        self.done: dict[str, Fetched] = {one.name: one for one in self._journal()}
        self.failed: dict[str, str] = {}

    def file(self, name: str) -> Path:
        """The file of an image that arrived."""
        return self._folder / "images" / self.done[name].file

    def run(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Fetch images, (name, address) each, unless they are there; ``done`` and ``failed`` say what became of them.

        Raises:
            FailureError: the disk is full, or so many failed in a row that the server must be gone.
        """
        left = [(name, url) for name, url in wanted if name not in self.done]
        self.failed = {}
        in_a_row = 0
        with open(self._folder / "journal.jsonl", "a", encoding="utf-8") as journal, \
                progress(len(left), "Downloading", "images") as bar:
            for name, result in self._results(left):
                bar.advance()
                if isinstance(result, Fetched):
                    in_a_row = 0
                    self.done[name] = result
                    journal.write(json.dumps(asdict(result)) + "\n")
                    journal.flush()
                    continue
                if isinstance(result, FailureError):
                    if result.__cause__ is not None and is_full(result.__cause__):
                        raise result
                    in_a_row += 1
                self.failed[name] = str(result)
                if in_a_row >= _IN_A_ROW:
                    raise FailureError(f"{in_a_row} images in a row did not arrive, the last for: {result.what}",
                                       where=result.where, fix="Run again later; what has arrived stays")

    def _results(self, left: list[tuple[str, str]]) -> Iterator[tuple[str, Fetched | GroundswellError]]:
        """In the order of arrival. Few wait in the queue, so that a stop is quick."""
        todo = iter(left)
        pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="groundswell-fetch")
        under_way: dict[Future[Fetched], str] = {}
        try:
            while True:
                for name, url in todo:
                    under_way[pool.submit(self._one, name, url)] = name
                    if len(under_way) >= self._at_once:
                        break
                if not under_way:
                    return
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    name = under_way.pop(future)
                    error = future.exception()
                    if isinstance(error, GroundswellError):
                        yield name, error
                    else:
                        yield name, future.result()
        finally:
            self._stop_all(pool)

    def _stop_all(self, pool: ThreadPoolExecutor) -> None:
        was = self._stop.is_set()
        self._stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        if not was:
            self._stop.clear()

    def _one(self, name: str, url: str) -> Fetched:
        if self._stop.is_set():
            raise Stopped
        arrived = download(url, self._folder / "arriving" / name, most_bytes=MOST_BYTES, patience=self._patience,
                           stop=self._stop)
        try:
            made = fitted(arrived.read_bytes(), url)
        finally:
            arrived.unlink()
        write_bytes(self._folder / "images" / f"{name}{made.suffix}", made.data)
        return Fetched(name, f"{name}{made.suffix}", checksum(made.data), made.size, made.original)

    def _journal(self) -> Iterator[Fetched]:
        """Images that arrived earlier and are still whole; a line that a kill cut off is passed over."""
        path = self._folder / "journal.jsonl"
        if not path.is_file():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        if text and not text.endswith("\n"):
            with open(path, "a", encoding="utf-8") as journal:
                journal.write("\n")
        for line in text.splitlines():
            try:
                value = json.loads(line)
                one = Fetched(str(value["name"]), Path(str(value["file"])).name, str(value["checksum"]),
                              (int(value["size"][0]), int(value["size"][1])),
                              (int(value["original"][0]), int(value["original"][1])))
            except (ValueError, KeyError, TypeError, IndexError):
                continue
            file = self._folder / "images" / one.file
            if file.is_file() and checksum(file.read_bytes()) == one.checksum:
                yield one
