"""marine: how long a detector takes for an image on this machine, and what energy: measured, or "not measured".

On a station: ``python -m groundswell.pipelines.marine.deploying.latency MODEL``.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.errors import GroundswellError
from groundswell.pipelines.marine.detecting import OpenDetector, open_detector

POWERCAP = Path("/sys/class/powercap")
"""Where Linux gives the processor's counters of energy (RAPL)."""
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Latency:
    """Time and energy for an image.

    Attributes:
        machine: processor and system.
        images: measured, one at a time, after some that were not.
        median_ms, p95_ms: from the image as the camera gives it to its boxes, milliseconds.
        joules: of an image, all of the processor; None where there is no counter that can be read.
        why: why energy was not measured; else empty.
    """

    machine: str
    images: int
    median_ms: float
    p95_ms: float
    joules: float | None
    why: str

    def sentence(self) -> str:
        """For people."""
        energy = f"{NOT_MEASURED} ({self.why})" if self.joules is None else (
            f"{self.joules:.2f} J an image (processor, by its own counter)")
        return (f"Latency on this machine ({self.machine}), one image at a time, one thread: median "
                f"{self.median_ms:.0f} ms, 95 % within {self.p95_ms:.0f} ms of {self.images} images. Energy: {energy}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "joules": NOT_MEASURED if self.joules is None else self.joules}


class EnergyCounter:
    """The processor's own count of its energy.

    Args:
        root: folder of the system's power capping interface.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._counters: list[tuple[Path, int]] = []
        self.why = f"{root} is not there"
        for zone in sorted(root.glob("intel-rapl:*")) if root.is_dir() else []:
            if zone.name.count(":") != 1:  # parts of a package are in the package's count
                continue
            try:
                most = int((zone / "max_energy_range_uj").read_text())
                int((zone / "energy_uj").read_text())
            except (OSError, ValueError) as error:
                self.why = f"{zone / 'energy_uj'} cannot be read: {getattr(error, 'strerror', None) or error}"
                continue
            self._counters.append((zone / "energy_uj", most))
        if root.is_dir() and not self._counters and self.why.endswith("is not there"):
            self.why = f"{root} has no counter of a processor"

    @property
    def readable(self) -> bool:
        """Whether there is anything to count with."""
        return bool(self._counters)

    def read(self) -> list[int]:
        """Counts, microjoules."""
        return [int(path.read_text()) for path, _ in self._counters]

    def joules(self, before: list[int]) -> float:
        """Spent since ``before``; counters that began anew in between are put right once."""
        return sum((now - then) % (most + 1) for now, then, (_, most) in zip(self.read(), before, self._counters,
                                                                           strict=True)) / 1e6


def measure(detector: OpenDetector, *, images: int = 30, warm: int = 3, width: int = 1280, height: int = 720,
            root: Path = POWERCAP) -> Latency:
    """Look at pictures of chance, one at a time.

    Args:
        detector: to measure, with everything that belongs to it: correction, members, views, fusion.
        images: how many count.
        warm: how many are looked at before, uncounted.
        width, height: of the pictures, pixels.
        root: see :class:`EnergyCounter`.
    """
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for _ in range(warm):
        detector([picture])
    counter = EnergyCounter(root)
    before = counter.read()
    spent = np.empty(images)
    for k in range(images):
        begun = time.perf_counter()
        detector([picture])
        spent[k] = time.perf_counter() - begun
    joules = counter.joules(before) / images if counter.readable else None
    return Latency(f"{platform.processor() or platform.machine()}, {platform.system()}", images,
                   float(np.median(spent)) * 1000, float(np.quantile(spent, 0.95)) * 1000, joules,
                   "" if joules is not None else counter.why)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a model; the exit status."""
    parser = argparse.ArgumentParser(prog="latency", description="Time and energy for an image on this machine.")
    parser.add_argument("model", type=Path, help="folder with ensemble.json, .onnx file, or run")
    parser.add_argument("--images", type=int, default=30)
    given = parser.parse_args(arguments)
    try:
        sys.stdout.write(measure(open_detector(given.model), images=max(1, given.images)).sentence() + "\n")
    except GroundswellError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
