"""Correcting underwater images beside the same steps written plainly, and beside what no code of them can save."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.geomag import Rows, row
from groundswell.pipelines.marine.image_files import read_image
from groundswell.pipelines.marine.images import ImageWriter
from groundswell.pipelines.marine.prepare.plain import plain_underwater
from groundswell.pipelines.marine.prepare.preparing import prepare_set
from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
from groundswell.pipelines.marine.prepare.underwater import underwater
from groundswell.pipelines.marine.vision import cv2
from groundswell.train.executors import available_cores

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "marine" / "deepfish_boxes_640" / "images"
SIZES = ((1920, 1080), (640, 360))
TURNS, SEED = 15, PrepareRecipe()
TIMES = 2.0
COMPARED, OF_A_SET = 24, 480


def prepare(work: Path) -> Rows:
    """One thread, 1920x1080 and 640x360: plain OpenCV and NumPy, ours, and the colour conversions and CLAHE alone."""
    images = _images()
    rows = [row("images", f"{len(images)} real ones" if REAL.is_dir() else f"noise: {REAL} is absent")]
    furthest = 0
    for width, height in SIZES:
        some = [cv2().resize(image, (width, height), interpolation=cv2().INTER_CUBIC) for image in images]
        for image in some:
            furthest = max(furthest, _difference(underwater(image), plain_underwater(image, SEED)))
        ways: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
            "plain": lambda image: plain_underwater(image, SEED), "ours": underwater, "floor": _floor}
        spent = _in_turns(ways, some)
        size = f"{width}x{height}"
        rows += [row(f"{size}, {name}", f"{spent[way] * 1e3:.1f} ms an image") for way, name in
                 (("plain", "plain OpenCV and NumPy"), ("floor", "colour conversions and CLAHE alone"))]
        rows += [row(f"{size}, ours", f"{spent['ours'] * 1e3:.1f} ms an image, {spent['ours'] / spent['floor']:.2f} "
                                      "times what the conversions and CLAHE take"),
                 row(f"{size}, times as fast as plain", round(spent["plain"] / spent["ours"], 2),
                     f"at least {TIMES:g}", spent["plain"] >= TIMES * spent["ours"])]
    rows.append(row("largest difference from the plain way, grey levels", furthest, "at most 1", furthest <= 1))
    return [*rows, *_whole_sets(work / "marine-prepare", images)]


def _images() -> list[NDArray[np.uint8]]:
    files = sorted(REAL.glob("*.jpg"))
    if not files:
        rng = np.random.default_rng(0)
        return [rng.integers(0, 256, (360, 640, 3), dtype=np.uint8) for _ in range(COMPARED)]
    return [read_image(files[place]) for place in np.linspace(0, len(files) - 1, COMPARED).astype(int)]


def _difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    return int(np.abs(first.astype(np.int16) - second).max())


def _floor(image: NDArray[np.uint8]) -> Any:
    """Into Lab and back twice, and CLAHE: what is left if everything else were free."""
    vision = cv2()
    balanced = vision.cvtColor(vision.cvtColor(image, vision.COLOR_RGB2LAB), vision.COLOR_LAB2RGB)
    lab = vision.cvtColor(balanced, vision.COLOR_RGB2LAB)
    vision.createCLAHE(clipLimit=SEED.clip, tileGridSize=(SEED.tiles, SEED.tiles)).apply(vision.extractChannel(lab, 0))
    return vision.cvtColor(lab, vision.COLOR_LAB2RGB)


def _in_turns(ways: dict[str, Callable[[NDArray[np.uint8]], Any]],
              images: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Median seconds of each way, which look at one image after the other."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS + 1):
        for name, way in ways.items():
            image = images[turn % len(images)]
            started = time.perf_counter()
            way(image)
            spent[name].append(time.perf_counter() - started)
    return {name: float(np.median(found[1:])) for name, found in spent.items()}


def _whole_sets(folder: Path, images: list[NDArray[np.uint8]]) -> Rows:
    shutil.rmtree(folder, ignore_errors=True)
    with ImageWriter(folder / "images", classes=["fish"]) as writer:
        for number in range(OF_A_SET):
            writer.add(f"image{number}", images[number % len(images)])
    rows = []
    for workers in sorted({1, min(2, available_cores())}):
        started = time.perf_counter()
        prepare_set(writer.set, folder / f"by{workers}", workers=workers, quiet=True)
        rate = OF_A_SET / (time.perf_counter() - started)
        rows.append(row(f"a set of {OF_A_SET} images of {images[0].shape[1]}x{images[0].shape[0]}, {workers} "
                        "process(es), with reading, writing and starting", f"{rate:.0f} images/s"))
    shutil.rmtree(folder)
    return rows
