"""marine: one file by HTTP, that goes on where it broke off and is either whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate
from pathlib import Path
from typing import IO, Any

from groundswell.core.errors import BusyError, FailureError, InputError
from groundswell.core.files import free_gib, is_full, write_json
from groundswell.core.locks import held
from groundswell.pipelines.marine.acquire.web import LATER, LEAP, SLOWEST, Patience, Stopped, opener, plain_address

BLOCK = 1 << 18
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


@dataclass
class _Known:
    """What the server said of the file when its first byte was asked for."""

    url: str
    tag: str
    size: int | None

    def changed(self, headers: Any) -> bool:
        """Whether a later answer says that it is of another file: caches that do not know If-Range send such parts."""
        dated = not self.tag.startswith('"') and parsedate(self.tag) is not None
        told = headers.get("Last-Modified" if dated else "ETag", "")
        return bool(self.tag and told) and told != self.tag


def download(url: str, path: Path, *, size: int | None = None, sha256: str = "", most_bytes: int | None = None,
             patience: Patience | None = None, stop: threading.Event | None = None,
             arrived: Callable[[int], None] = lambda count: None) -> Path:
    """Fetch ``url`` into ``path``. The same call goes on where an earlier one stopped, even one that was killed.

    Bytes are collected in ``<path>.part``; only a file of the right size (and checksum, where one is given) takes its
    name. A later part is asked for on condition that the file is still the one begun (RFC 9110, If-Range).

    Args:
        url: http or https.
        path: the file; one that is there already, and agrees with ``size`` and ``sha256``, is not fetched again.
        size: bytes it must have; what the server states when absent.
        sha256: hexadecimal, or empty.
        most_bytes: a larger file is refused.
        patience: tries and waits.
        stop: ends the attempt with :class:`Stopped`.
        arrived: called with the number of new bytes.

    Raises:
        InputError: no such address, no leave to read it, a file of another size than ``size``, larger than
            ``most_bytes``, or another file at ``path``.
        BusyError: another process fetches it.
        FailureError: it did not arrive in so many tries, or the disk is full; what has arrived stays.
    """
    fetch = _Fetch(plain_address(url), Path(path), size, sha256.lower(), most_bytes, patience or Patience(),
                   stop or threading.Event(), arrived)
    if fetch.there():
        return fetch.path
    with fetch.alone():
        if not fetch.there():  # another process may have finished it while this one came to its turn
            fetch.run()
    return fetch.path


@dataclass
class _Fetch:
    """One file, through all its attempts."""

    url: str
    path: Path
    size: int | None
    sha256: str
    most_bytes: int | None
    patience: Patience
    stop: threading.Event
    arrived: Callable[[int], None]

    def __post_init__(self) -> None:
        self.part = self.path.with_name(self.path.name + ".part")
        self.notes = self.path.with_name(self.path.name + ".part.json")

    def there(self) -> bool:
        """Whether the file is there; one that is another is not overwritten."""
        if not self.path.is_file():
            return False
        if self.size not in (None, self.path.stat().st_size) or (self.sha256 and _sha256(self.path) != self.sha256):
            raise InputError("Another file is here already: its size or checksum is not the one expected",
                             where=self.path, fix="Move it away, and run again")
        return True

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the unfinished file for this process."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"Cannot write here: {error.strerror}", where=self.path.parent,
                             fix="Choose a folder that can be written to") from error
        try:
            with held(self.part):
                try:
                    yield
                finally:
                    if self.part.is_file() and not self.part.stat().st_size:
                        self.part.unlink()
                        self.notes.unlink(missing_ok=True)
        except BusyError as error:
            raise BusyError("Another process fetches this file", where=self.path,
                            fix="Wait for it, or stop it") from error

    def run(self) -> None:
        """Attempts, until one brings the file home."""
        attempt = 0
        while True:
            before = self.part.stat().st_size
            try:
                self._attempt()
                return
            except urllib.error.HTTPError as error:
                told, wait = self._answered(error)
            except (OSError, http.client.HTTPException) as error:
                if is_full(error):
                    raise FailureError("No space left on the device; what has arrived stays", where=self.path,
                                       fix="Free some space and run again") from error
                told, wait = str(error) or type(error).__name__, 0.0
            if self.part.stat().st_size - before >= LEAP:
                attempt = 0
            attempt += 1
            if attempt >= self.patience.tries:
                raise FailureError(f"The file did not arrive in {attempt} attempts: {told}", where=self.url,
                                   fix="Run again later; what has arrived stays")
            pause = self.patience.pause(attempt - 1, self.url)
            if self.stop.wait(min(max(pause, wait), self.patience.longest_s)):
                raise Stopped

    def _answered(self, error: urllib.error.HTTPError) -> tuple[str, float]:
        """What an answer that is none says, and how long the server wants us to wait; raises where waiting is vain."""
        with error:
            if error.code == 416:
                self._forget()
            elif error.code not in LATER:
                raise InputError(f"The server answers {error.code} {error.reason}", where=self.url,
                                 fix="Look whether the address is right, and whether it may be read") from error
            asked = error.headers.get("Retry-After", "")
        return f"the server answers {error.code} {error.reason}", float(asked) if asked.isdecimal() else 0.0

    def _attempt(self) -> None:
        known = self._known()
        have = self.part.stat().st_size if known else 0
        if known is None or known.size is None or have != known.size:  # all may be here, but for the name
            self._ask(known if have else None, have)
        self._finish()

    def _ask(self, known: _Known | None, have: int) -> None:
        headers = {"Accept-Encoding": "identity", "User-Agent": "groundswell"}
        if known is not None:
            headers["Range"] = f"bytes={have}-"
            if known.tag:
                headers["If-Range"] = known.tag
        asked = urllib.request.Request(self.url, headers=headers)
        try:
            opened_answer = opener().open(asked, timeout=self.patience.stall_s)
        except ValueError as error:
            raise ConnectionError(f"the server leads to an address that is none: {error}") from error
        with opened_answer as answer:
            start, total = self._place(answer, known, have)
            with open(self.part, "r+b") as opened:
                opened.seek(start)
                opened.truncate()
                self._pour(answer, opened, total)

    def _place(self, answer: Any, known: _Known | None, have: int) -> tuple[int, int | None]:
        """Where in the file the answer's bytes belong, and how many bytes the whole file has."""
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise InputError("The server sends the file only packed", where=self.url, fix="Fetch it by other means")
        if answer.status == 206 and known is not None:
            told = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            total = int(told[3]) if told and told[3] != "*" else known.size
            if told is None or int(told[1]) != have or total != known.size or known.changed(answer.headers):
                self._forget()
                raise ConnectionError("the server sends another part than was asked for")
            return have, total
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() and len(length) <= 18 else None
        self._suits(total)
        tag = answer.headers.get("ETag", "")
        tag = answer.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
        if total is None and self.size is None and answer.headers.get("Transfer-Encoding", "") != "chunked":
            raise InputError("The server does not say how long the file is: a broken one could not be told",
                             where=self.url, fix="State its size")
        self._forget()
        write_json(self.notes, asdict(_Known(self.url, tag, total if total is not None else self.size)))
        return 0, total if total is not None else self.size

    def _suits(self, total: int | None) -> None:
        if total is None:
            return
        if self.size not in (None, total):
            raise InputError(f"The file there has {total:,} bytes, not {self.size:,}", where=self.url,
                             fix="Look whether the address is right")
        if self.most_bytes is not None and total > self.most_bytes:
            raise InputError(f"The file has {total:,} bytes; at most {self.most_bytes:,} are fetched", where=self.url)
        if total / 2**30 > free_gib(self.path.parent):
            raise FailureError(f"The file needs {total / 2**30:.1f} GiB, and {free_gib(self.path.parent):.1f} are free",
                               where=self.path, fix="Free some space, or choose another disk")

    def _pour(self, answer: Any, opened: IO[bytes], total: int | None) -> None:
        since, brought = time.monotonic(), 0
        while block := answer.read1(BLOCK):
            opened.write(block)
            self.arrived(len(block))
            brought += len(block)
            if self.most_bytes is not None and opened.tell() > self.most_bytes:
                opened.truncate(0)
                raise InputError(f"The file has more than {self.most_bytes:,} bytes, the most that are fetched",
                                 where=self.url)
            if self.stop.is_set():
                raise Stopped
            now = time.monotonic()
            if now - since > self.patience.stall_s:
                if brought < SLOWEST * (now - since):
                    raise TimeoutError(f"{brought} bytes in {now - since:.1f} s")
                since, brought = now, 0
        if total is not None and opened.tell() != total:
            raise ConnectionError(f"the connection ended after {opened.tell():,} of {total:,} bytes")

    def _finish(self) -> None:
        count = self.part.stat().st_size
        if self.size not in (None, count) or (self.sha256 and _sha256(self.part) != self.sha256):
            self._forget()
            raise ConnectionError(f"the {count:,} bytes that arrived are not those expected")
        with open(self.part, "r+b") as opened:
            os.fsync(opened.fileno())
        os.replace(self.part, self.path)
        self.notes.unlink(missing_ok=True)

    def _known(self) -> _Known | None:
        """What is known of the unfinished file, if it is of this address."""
        try:
            told = json.loads(self.notes.read_text(encoding="utf-8"))
            known = _Known(str(told["url"]), str(told["tag"]), told["size"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        usable = known.url == self.url and self.part.is_file() and (known.size is None or isinstance(known.size, int))
        if not usable or (known.size is not None and self.part.stat().st_size > known.size):
            return None
        # Without a tag or a size nothing says that the rest belongs to the same file.
        return known if known.tag or (known.size is not None and self.sha256) else None

    def _forget(self) -> None:
        # Emptied, not removed: the unfinished file is the lock that this process holds.
        self.notes.unlink(missing_ok=True)
        os.truncate(self.part, 0)


def _sha256(path: Path) -> str:
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
