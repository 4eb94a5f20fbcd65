"""biodiversity: the download of a published data set from the Hugging Face hub, only when a person asks for it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundswell.core.errors import BusyError, FailureError, InputError
from groundswell.core.files import free_gib, inside, is_full
from groundswell.core.locks import held
from groundswell.core.optional import require
from groundswell.core.progress import progress

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
WORKERS = 4
ATTEMPTS = 5
WAIT_S = 2.0
"""Before a file is tried again; twice as long each time."""
_BOOKKEEPING = Path(".cache") / "huggingface" / "download"
_LEFT = re.compile(r"\.[0-9a-f]{8}\.incomplete")
_POLL_S = 0.5
_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True)
class _File:
    """A file of the data set: its path there, bytes, and SHA-256 where the server states it."""

    path: str
    size: int
    sha256: str | None


def download_dataset(repo: str, out: Path, *, endpoint: str | None = None, revision: str = "main",
                     token: bool | str = False, attempts: int = ATTEMPTS, wait_s: float = WAIT_S) -> list[str]:
    """Download every file of a data set into a folder. The same call goes on where an earlier one stopped.

    Whole files are never fetched again. Within a call, a file that breaks off goes on from where it was; a later
    call begins that one file anew. What arrives is compared with the size and the SHA-256 that the server states. No
    telemetry is sent, and no access token unless asked for.

    Args:
        repo: ``owner/name``.
        out: the folder.
        endpoint: address of another server of the same kind; the hub when absent.
        revision: branch, tag or commit.
        token: True sends the access token that is saved on this machine, or HF_TOKEN; text is sent itself.
        attempts: how often a file is tried.
        wait_s: seconds before the second attempt; twice as many before each further one.

    Returns:
        Lines for a person.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        InputError: the name is none; there is no such data set or revision, or it may not be read; a file's name leads
            outside the folder.
        BusyError: another download into the folder is at work.
        FailureError: the server or the network gave up, or the disk is too small; what has arrived stays.
    """
    out = Path(out)
    if not REPO.fullmatch(repo):
        raise InputError(f"'{repo}' is not the name of a data set", where="biodiversity download",
                         fix="Give owner/name, as deepearth/central-florida-native-plants")
    if out.exists() and not out.is_dir():
        raise InputError("This is a file, not a folder to download into", where=out, fix="Choose another folder")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    hub = require("huggingface_hub", extra="biodiversity", purpose="Downloading a data set")
    setattr(_part("constants"), "HF_HUB_DISABLE_TELEMETRY", True)  # noqa: B010 - it may have been imported before
    with _quiet():
        commit, files = _listed(hub, repo, endpoint, revision, token)
        for file in files:
            _within(out, file.path)
        _room(out, files)
        with _alone(out):
            fetched = _Fetch(hub, repo, out, commit, endpoint, token, attempts, wait_s).run(files)
    total = sum(file.size for file in files)
    return [f"{repo} at {commit[:12]}: {len(files):,} files, {total / _GIB:.3g} GiB, in {out}",
            f"fetched now: {fetched:,}; there already: {len(files) - fetched:,}"]


def _part(name: str) -> Any:
    return require(f"huggingface_hub.{name}", extra="biodiversity", purpose="Downloading a data set")


def _listed(hub: Any, repo: str, endpoint: str | None, revision: str, token: bool | str) -> tuple[str, list[_File]]:
    """The commit that the revision is, and its files."""
    api, errors = hub.HfApi(endpoint=endpoint, token=token), _part("errors")
    try:
        commit = api.dataset_info(repo, revision=revision).sha
        entries = [entry for entry in api.list_repo_tree(repo, recursive=True, revision=commit, repo_type="dataset")
                   if hasattr(entry, "size")]
    except (errors.GatedRepoError, errors.RevisionNotFoundError, errors.RepositoryNotFoundError) as error:
        what = {"GatedRepoError": "may not be read without the owner's leave",
                "RevisionNotFoundError": f"has no revision '{revision}'"}
        raise InputError(f"The data set '{repo}' {what.get(type(error).__name__, 'is not there, or is private')}",
                         where=endpoint or "the hub", fix="Look whether the name and the revision are right") from error
    except _transport() as error:
        raise FailureError(f"The server cannot be asked for '{repo}': {error}", where=endpoint or "the hub",
                           fix="Look whether the network is there, and run again") from error
    files = [_File(entry.path, int(entry.size), getattr(entry.lfs, "sha256", None)) for entry in entries]
    if not files:
        raise InputError(f"The data set '{repo}' holds no files", where=endpoint or "the hub")
    return str(commit), files


def _within(out: Path, path: str) -> None:
    """Refuse names that lead outside the folder or into the bookkeeping of downloads."""
    if inside(out, path).is_relative_to(out.resolve() / ".cache"):
        raise InputError(f"The data set has a file '{path}', where downloads keep their own", where=out,
                         fix="Do not use this data set")


def _room(out: Path, files: list[_File]) -> None:
    needed = sum(file.size for file in files if not _there(out, file)) / _GIB
    if needed > free_gib(out):
        raise FailureError(f"The download needs {needed:.1f} GiB more, and {free_gib(out):.1f} are free", where=out,
                           fix="Free some space, or choose another disk")


def _there(out: Path, file: _File) -> bool:
    path = out / file.path
    return path.is_file() and path.stat().st_size == file.size


class _Fetch:
    """The fetching of files by a few threads, which end with the process: a person who stops it need not wait."""

    def __init__(self, hub: Any, repo: str, out: Path, commit: str, endpoint: str | None, token: bool | str,
                 attempts: int, wait_s: float) -> None:
        self._hub, self._repo, self._out, self._commit = hub, repo, out, commit
        self._endpoint, self._token, self._attempts, self._wait_s = endpoint, token, attempts, wait_s
        self._errors: list[BaseException] = []
        self._fetched: list[_File] = []
        self._stop = threading.Event()

    def run(self, files: list[_File]) -> int:
        """Fetch what is not there; how many that were."""
        left: queue.SimpleQueue[_File] = queue.SimpleQueue()
        for file in files:
            left.put(file)
        threads = [threading.Thread(target=self._work, args=(left,), daemon=True, name="groundswell-download")
                   for _ in range(min(WORKERS, len(files)))]
        total, shown_mib = sum(file.size for file in files) // _MIB, self._arrived(files) // _MIB
        with progress(total, "Downloading", "MiB", done=shown_mib) as shown:
            try:
                for thread in threads:
                    thread.start()
                while any(thread.is_alive() for thread in threads):
                    threads[0].join(_POLL_S) if threads[0].is_alive() else time.sleep(_POLL_S / 10)
                    arrived = self._arrived(files) // _MIB
                    shown.advance(max(0, arrived - shown_mib))
                    shown_mib = max(arrived, shown_mib)
            finally:
                self._stop.set()
        if self._errors:
            raise self._errors[0]
        return len(self._fetched)

    def _arrived(self, files: list[_File]) -> int:
        """Bytes that are on the disk."""
        whole = sum(file.size for file in files if _there(self._out, file))
        with contextlib.suppress(OSError):  # a file may be renamed while it is looked at
            whole += sum(path.stat().st_size for path in (self._out / _BOOKKEEPING).rglob("*.incomplete"))
        return whole

    def _work(self, left: queue.SimpleQueue[_File]) -> None:
        while not self._stop.is_set():
            try:
                self._one(left.get_nowait())
            except queue.Empty:
                return
            except BaseException as error:
                self._errors.append(error)
                self._stop.set()

    def _one(self, file: _File) -> None:
        path = self._out / file.path
        before = path.stat().st_mtime_ns if path.is_file() else None
        for attempt in range(self._attempts):
            try:
                self._hub.hf_hub_download(self._repo, file.path, repo_type="dataset", revision=self._commit,
                                          local_dir=self._out, endpoint=self._endpoint, token=self._token,
                                          force_download=path.is_file() and not _there(self._out, file))
                if path.stat().st_mtime_ns != before:
                    self._compare(path, file)
                    self._fetched.append(file)
                return
            except _transport() as error:
                if is_full(error):
                    raise FailureError("No space left on the device", where=self._out,
                                       fix="Free some space and run again; what has arrived stays") from error
                if attempt == self._attempts - 1 or self._stop.wait(self._wait_s * 2**attempt):
                    raise FailureError(f"The file '{file.path}' did not arrive in {attempt + 1} attempts: {error}",
                                       where=self._repo,
                                       fix="Run again later; what has arrived stays") from error

    def _compare(self, path: Path, file: _File) -> None:
        size = path.stat().st_size
        if file.sha256 is not None:
            with open(path, "rb") as opened:
                same = hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
        else:
            same = size == file.size
        if not same:
            path.unlink()
            raise OSError(f"its {size} bytes are not those that the server stated")


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder for this process, and remove pieces that a killed download left: they cannot be used."""
    try:
        (out / _BOOKKEEPING).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write here: {error.strerror}", where=out,
                         fix="Choose a folder that exists and can be written to") from error
    try:
        with held(out / _BOOKKEEPING.parent / "groundswell.lock"):
            for path in (out / _BOOKKEEPING).rglob("*.incomplete"):
                if _LEFT.search(path.name):
                    path.unlink()
            yield
    except BusyError as error:
        raise BusyError("Another download into this folder is at work", where=out,
                        fix="Wait for it, or stop it") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """One progress bar, ours; of broken connections the library's own lines are not needed."""
    utils, log = _part("utils"), logging.getLogger("huggingface_hub")
    level, disabled = log.level, utils.are_progress_bars_disabled()
    log.setLevel(logging.ERROR)
    utils.disable_progress_bars()
    try:
        yield
    finally:
        log.setLevel(level)
        if not disabled:
            utils.enable_progress_bars()


def _transport() -> tuple[type[BaseException], ...]:
    """What a server or a network that fails is raised as; the library has changed how it speaks HTTP more than once."""
    libraries = [sys.modules[name] for name in ("httpx2", "httpx") if name in sys.modules]
    return (OSError, _part("errors").HfHubHTTPError, *(library.TransportError for library in libraries))
