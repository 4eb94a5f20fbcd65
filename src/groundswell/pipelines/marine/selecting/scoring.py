"""marine: a pool of images looked at by a detector, batch by batch; a killed process loses the batch it was at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, read_json, write_json
from groundswell.core.progress import progress
from groundswell.pipelines.marine.duplicates import hash_of
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.letterbox import letterbox, restored
from groundswell.pipelines.marine.selecting.diversity import shortened
from groundswell.pipelines.marine.selecting.uncertainty import criteria_of, mirrored, places_of
from groundswell.pipelines.marine.vision import cv2

SCORES, FACTS, _PARTS = "scores.parquet", "scores.json", ".scores"
DARKER = 0.6
"""What the darkened view is multiplied by."""
_SHOWN = 20
"""Boxes of an image that are kept for its picture."""

Raw = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Looker:
    """A detector as this step needs it.

    Attributes:
        raw: maps uint8 (b, 3, size, size) to boxes (b, q, 4), shares of the input, and scores (b, q, c), before any
            threshold.
        features: maps the same to the last feature map's mean over space, (b, d).
        classes: what it tells apart.
        critical: which of them are critical species, (c,).
        rare: how rare each is in what it learnt from, 0 to 1, (c,).
        size: edge of its input, pixels.
        overlap: above which boxes are one place.
        most: places of an image, at most.
        identity: of its weights; scores of another are not taken up.
        batch: images that it looks at at once.
        prepare: what is done to an image first, or None.
        seed: of its run.
    """

    raw: Callable[[NDArray[np.uint8]], Raw]
    features: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    classes: tuple[str, ...]
    critical: NDArray[np.bool_]
    rare: NDArray[np.float64]
    size: int
    overlap: float
    most: int
    identity: str
    batch: int = 16
    prepare: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None
    seed: int = 0


def score_pool(looker: Looker, pool: ImageSet, names: Sequence[str], band: tuple[float, float], out: Path, *,
               quiet: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """Look at images, or take up what an earlier call with the same detector, pool and band has found of them.

    Each batch is written as it is done; at the end all are in ``out/scores.parquet``.

    Returns:
        a row for each image that can be read, in the order of ``names``: ``image``, each criterion, ``hash`` (int64),
        ``feature`` (list), and of its surest places ``boxes`` (list, four numbers a box, pixels of the image),
        ``box_score``, ``box_label``, and ``predicted``, how many reach the band; and why others cannot be read.
    """
    facts = {"detector": looker.identity, "pool": pool.fingerprint(), "band": list(band), "size": looker.size,
             "prepared": looker.prepare is not None, "darker": DARKER}
    parts = _begin(out, facts)
    kept = sorted(parts.glob("[0-9]*.parquet"))  # not what a killed process was writing, whose name begins with a dot
    found = [_read(path) for path in [out / SCORES, *kept] if path.exists()]
    done = {name for frame in found for name in frame["image"]}
    left = [name for name in names if name not in done]
    refused: list[str] = []
    number = len(kept)
    with progress(len(names), "Looking", "images", done=len(done), quiet=quiet) as bar:
        for at, (some, images) in enumerate(_batches(pool, left, looker.batch, refused)):
            if images:
                frame = pd.DataFrame(_scored(looker, some, images, band))
                _write(parts / f"{number:08d}.parquet", frame)
                found.append(frame)
                number += 1
            bar.advance(min(looker.batch, len(left) - at * looker.batch))
    if not found:
        return pd.DataFrame(), refused
    place = {name: at for at, name in enumerate(names)}
    whole = pd.concat(found, ignore_index=True).drop_duplicates("image")
    whole = whole[whole["image"].isin(place)]
    whole = whole.iloc[np.argsort(whole["image"].map(place).to_numpy(), kind="stable")].reset_index(drop=True)
    if left or not (out / SCORES).exists():
        _write(out / SCORES, whole)
    shutil.rmtree(parts)
    return whole, refused


def _begin(out: Path, facts: dict[str, Any]) -> Path:
    """Where batches are kept; what was found by another detector, of other images or for another band goes."""
    parts = out / _PARTS
    if not (out / FACTS).exists() or read_json(out / FACTS) != facts:
        (out / SCORES).unlink(missing_ok=True)
        shutil.rmtree(parts, ignore_errors=True)
        write_json(out / FACTS, facts)
    parts.mkdir(parents=True, exist_ok=True)
    return parts


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"Scores of an earlier call cannot be read: {error}", where=path,
                         fix="Delete the file and run again") from error


def _write(path: Path, frame: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False)


def _batches(pool: ImageSet, names: Sequence[str], size: int,
             refused: list[str]) -> Iterator[tuple[list[str], list[NDArray[np.uint8]]]]:
    """Names and images, a batch at a time; why an image cannot be read is added to ``refused``."""

    def read(name: str) -> NDArray[np.uint8] | str:
        try:
            return pool.read(name)
        except InputError as error:
            return f"{error.where}: {error.what}"

    with ThreadPoolExecutor(2) as threads:
        for first in range(0, len(names), size):
            some = list(names[first:first + size])
            images = list(threads.map(read, some))
            refused += [image for image in images if isinstance(image, str)]
            there = [(name, image) for name, image in zip(some, images, strict=True) if not isinstance(image, str)]
            yield [name for name, _ in there], [image for _, image in there]


def _scored(looker: Looker, names: Sequence[str], images: Sequence[NDArray[np.uint8]],
            band: tuple[float, float]) -> list[dict[str, Any]]:
    """A row for each image of a batch."""
    fitted = [letterbox(looker.prepare(image) if looker.prepare else image, looker.size) for image in images]
    batch = np.ascontiguousarray(np.stack([square.transpose(2, 0, 1) for square, _ in fitted]))
    seen = [looker.raw(view) for view in (batch, np.ascontiguousarray(batch[..., ::-1]),
                                          (batch * np.float32(DARKER)).astype(np.uint8))]
    features = shortened(looker.features(batch))
    rows = []
    for k, (name, image, (_, placed)) in enumerate(zip(names, images, fitted, strict=True)):
        plain, turned, dark = (places_of(boxes[k], scores[k], size=looker.size, overlap=looker.overlap,
                                         most=looker.most) for boxes, scores in seen)
        best = plain.best[:_SHOWN]
        rows.append({
            "image": name,
            **criteria_of(plain, (mirrored(turned, looker.size), dark), band=band, critical=looker.critical,
                          rare=looker.rare),
            "predicted": int((plain.best >= band[0]).sum()), "uncertain": int(_inside(plain.best, band).sum()),
            "hash": np.uint64(hash_of(cv2().cvtColor(image, cv2().COLOR_RGB2GRAY))).view(np.int64),
            "feature": features[k], "boxes": restored(plain.boxes[:_SHOWN], placed).ravel(), "box_score": best,
            "box_label": plain.scores[:_SHOWN].argmax(axis=1).astype(np.int64)})
    return rows


def _inside(score: NDArray[np.float32], band: tuple[float, float]) -> NDArray[np.bool_]:
    return (score >= band[0]) & (score <= band[1])
