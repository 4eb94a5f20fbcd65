"""marine: a station's service: every recording that arrives in a folder is tracked and counted, one after the other.

``python -m groundswell.pipelines.marine.deploying.watching --model models --input recordings --out results``

What is done is written down after each recording (``state.json``) and results appear whole (one folder a recording), so
that a kill at any moment costs the recording at hand, which is begun anew. SIGTERM ends it with exit status 0.
``health.json`` says how things stand.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from groundswell.core.errors import FailureError, GroundswellError, InputError
from groundswell.core.files import read_json, write_json
from groundswell.core.progress import say
from groundswell.core.recipe import load_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.marine.detecting import OpenDetector, open_detector
from groundswell.pipelines.marine.following import follow
from groundswell.pipelines.marine.image_files import looks_readable
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe

VIDEOS = frozenset({".mp4", ".mov", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".ts"})
STATE, HEALTH = "state.json", "health.json"
_WORK = ".work"
_FORMAT = "groundswell watching 1"
TRIES = 3
"""Times that a recording is begun. One at which the service died so often is left out, or nothing would follow it."""


@dataclass(frozen=True)
class Recording:
    """A video, or a folder of frames, as it lies there.

    Attributes:
        path: of it.
        key: its name, size and time of change; another one under the same name has another key.
        changed: newest time of change, seconds since 1970.
    """

    path: Path
    key: str
    changed: float


def recordings_in(folder: Path) -> list[Recording]:
    """Recordings in a folder, oldest first; hidden and partial ones are none yet.

    Raises:
        FailureError: the folder is not there, such as that of a disk that is not mounted, or cannot be read.
    """
    found = []
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise FailureError(f"The folder of recordings cannot be read: {error.strerror}", where=folder) from error
    for path in paths:
        if path.name.startswith(".") or path.suffix.lower() in (".part", ".tmp"):
            continue
        try:
            files = [path] if path.is_file() and path.suffix.lower() in VIDEOS else [
                *filter(looks_readable, path.iterdir())] if path.is_dir() else []
            facts = [file.stat() for file in files]
        except OSError:  # taken away while it was looked at
            continue
        if facts:
            newest = max(fact.st_mtime_ns for fact in facts)
            size = sum(fact.st_size for fact in facts)
            found.append(Recording(path, f"{path.name}|{len(facts)}|{size}|{newest}", newest / 1e9))
    return sorted(found, key=lambda one: (one.changed, one.path.name))


@dataclass
class Watch:
    """The service.

    Attributes:
        detector: that looks.
        model: what it is called.
        source, out: folders of recordings and of results.
        recipe: of tracking.
        settle_s: how long a recording must have been seen unchanged before it is taken for whole.
        video: also write annotated videos.
        now: seconds since 1970, for those who read the results.
        elapsed: seconds of a clock that nobody sets, for waiting.
    """

    detector: OpenDetector
    model: str
    source: Path
    out: Path
    recipe: TrackRecipe
    settle_s: float = 10.0
    video: bool = False
    now: Callable[[], float] = time.time
    elapsed: Callable[[], float] = time.monotonic
    _trouble: str = field(default="", init=False)
    _seen: dict[str, float] = field(default_factory=dict, init=False)

    def state(self) -> tuple[dict[str, Any], dict[str, int]]:
        """What is done, for each key its result or why there is none; and how often what is not done was begun.

        Raises:
            InputError: the file is damaged.
        """
        if not (self.out / STATE).exists():
            return {}, {}
        try:
            facts = read_json(self.out / STATE)
            if facts["format"] != _FORMAT:
                raise ValueError(facts["format"])
            return dict(facts["done"]), {str(key): int(number) for key, number in facts["begun"].items()}
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError("The state of this service is damaged", where=self.out / STATE,
                             fix="Move it aside; all recordings are then looked at again") from error

    def pass_once(self) -> int:
        """Do all that has arrived and is whole; how many recordings were taken up.

        Raises:
            InputError: the state is damaged, or results cannot be written.
            FailureError: the disk is so full that not even that can be told.
        """
        shutil.rmtree(self.out / _WORK, ignore_errors=True)  # of one that was cut short
        done, begun = self.state()
        try:
            waiting = [one for one in recordings_in(self.source) if one.key not in done]
        except FailureError as error:  # it may be mounted again
            self._trouble, self._seen = str(error), {}
            self._tell("trouble", done, 0, "")
            return 0
        ready = self._settled(waiting)
        if not ready:
            self._trouble = ""
        taken = 0
        for number, one in enumerate(ready):
            self._tell("working", done, len(waiting) - number, one.path.name)
            with self._attempt(one.key, done, begun):
                try:
                    result = self._look(one, done) if begun[one.key] <= TRIES else {
                        "state": "failed", "why": f"the service ended {TRIES} times while it looked at this recording"}
                except FailureError as error:  # such as a full disk: tried again later, as often as it takes
                    self._trouble = str(error)
                    del begun[one.key]
                    with contextlib.suppress(FailureError):  # it may still be full
                        self._remember(done, begun)
                    break
                self._trouble = ""
                del begun[one.key]
                done[one.key] = {**result, "recording": one.path.name, "time": _clock(self.now())}
                self._remember(done, begun)
            say(f"{one.path.name}: {result.get('why') or result['lines'][0]}")
            taken += 1
        self._tell("trouble" if self._trouble else "idle", done, len(waiting) - taken, "")
        return taken

    def _settled(self, waiting: Sequence[Recording]) -> list[Recording]:
        """Those that have not changed for long enough. Their dates are not asked: another computer's clock, or this
        one's before it was set, may have written them."""
        now = self.elapsed()
        self._seen = {one.key: self._seen.get(one.key, now) for one in waiting}
        return [one for one in waiting if now - self._seen[one.key] >= self.settle_s]

    @contextlib.contextmanager
    def _attempt(self, key: str, done: dict[str, Any], begun: dict[str, int]) -> Iterator[None]:
        """A recording is begun in here, which counts unless the service is told to stop: only its deaths are against
        the recording."""
        before = begun.get(key, 0)
        try:
            begun[key] = before + 1
            self._remember(done, begun)
            yield
        except (SystemExit, KeyboardInterrupt):
            begun.pop(key, None)
            if before and key not in done:
                begun[key] = before
            with contextlib.suppress(FailureError):  # a full disk is no reason to stay
                self._remember(done, begun)
            raise

    def _remember(self, done: dict[str, Any], begun: dict[str, int]) -> None:
        write_json(self.out / STATE, {"format": _FORMAT, "done": done, "begun": begun})

    def _look(self, one: Recording, done: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._follow(one, done)
        except InputError as error:
            if one.key not in {other.key for other in recordings_in(self.source)}:
                raise FailureError("The recording was taken away or changed while it was looked at",
                                   where=one.path) from error
            return {"state": "failed", "why": str(error)}  # its own fault: not tried again until it changes

    def _follow(self, one: Recording, done: dict[str, Any]) -> dict[str, Any]:
        work = self.out / _WORK / "tracks"
        lines = follow(self.detector, self.model, one.path, work, self.recipe, video=self.video, quiet=True)
        result = self._place(one.path.name, {str(other.get("result")) for other in done.values()})
        os.replace(work, result)
        return {"state": "done", "result": result.name, "lines": lines[:-1]}

    def _place(self, name: str, taken: set[str]) -> Path:
        """A folder for results that is not there yet."""
        number, path = 1, self.out / f"{name}.tracks"
        while path.exists():
            if path.name not in taken and (path / "tracks.json").is_file():
                shutil.rmtree(path)  # of a kill before it was remembered
                break
            number += 1
            path = self.out / f"{name}.tracks-{number}"
        return path

    def _tell(self, state: str, done: dict[str, Any], pending: int, at: str) -> None:
        failed = sum(one["state"] == "failed" for one in done.values())
        write_json(self.out / HEALTH, {
            "time": _clock(self.now()), "state": state, "process": os.getpid(), "model": self.model,
            "simulated": self.detector.simulated, "done": len(done) - failed, "failed": failed, "pending": pending,
            "at": at, "trouble": self._trouble})


def _clock(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def parser() -> argparse.ArgumentParser:
    """The options of the service."""
    made = argparse.ArgumentParser(prog="watching", description="Track and count every recording that arrives.")
    made.add_argument("--model", type=Path, required=True, help="folder with ensemble.json, .onnx file, or run")
    made.add_argument("--input", type=Path, required=True, help="folder that recordings arrive in")
    made.add_argument("--out", type=Path, required=True, help="folder for results, state.json and health.json")
    made.add_argument("--config", type=Path, help="keys of tracking, YAML")
    made.add_argument("--interval", type=float, default=10.0, help="seconds between two looks at the folder")
    made.add_argument("--settle", type=float, default=10.0, help="seconds that a recording must be unchanged")
    made.add_argument("--video", action="store_true", help="also write annotated videos")
    made.add_argument("--once", action="store_true", help="do what is there and does not change, and end")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch until told to stop; the exit status."""
    given = parser().parse_args(arguments)
    try:
        if not given.input.is_dir():
            raise InputError("There is no such folder of recordings", where=given.input)
        recipe = load_recipe(TrackRecipe, given.config) if given.config else TrackRecipe()
        given.out.mkdir(parents=True, exist_ok=True)
        with RunFolder(given.out).lock():
            watch = Watch(open_detector(given.model), str(given.model), given.input, given.out, recipe,
                          settle_s=given.settle, video=given.video)
            signal.signal(signal.SIGTERM, _stop)
            if given.once:
                watch.pass_once()
                time.sleep(max(given.settle, 0.0))
                watch.pass_once()
                return 0
            while True:
                watch.pass_once()
                time.sleep(max(given.interval, 0.05))
    except GroundswellError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
