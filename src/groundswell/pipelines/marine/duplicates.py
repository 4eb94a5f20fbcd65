"""marine: images that look alike, found by a perceptual hash and an index over it instead of by comparing all pairs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.progress import progress
from groundswell.pipelines.marine.image_files import read_bytes
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.vision import cv2

Hashes = NDArray[np.uint64]
BITS = 8
"""Bits of 64 up to which two images count as near duplicates. Of the real images that this was tried on, frames of
different clips differ in 16 or more, and 95 % of those within three frames of one another in 10 or fewer."""
_EDGE = 32
_BANDS, _WIDTH = 4, 16
"""What the index looks up: so many bands of so many bits."""
_MOST_BITS = 15


def _low_frequencies() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the 64 lowest frequencies of a square cosine transform, the mean left out."""
    cells = sorted(((i, j) for i in range(12) for j in range(12) if i + j), key=lambda c: (c[0] + c[1], c[0]))[:64]
    rows, columns = np.array(cells).T
    return rows, columns


def hash_of(grey: NDArray[Any]) -> int:
    """The perceptual hash of an image in shades of grey, (h, w): 64 bits.

    The image is shrunk to 32 by 32; each bit says whether one of the 64 lowest frequencies of its cosine transform lies
    above their median, so size, brightness, contrast and compression hardly matter. (The idea is Zauner's pHash, 2010.)
    """
    from scipy.fft import dctn

    small = cv2().resize(grey, (_EDGE, _EDGE), interpolation=cv2().INTER_AREA).astype(np.float64)
    values = dctn(small, norm="ortho")[_low_frequencies()]
    return int((values > np.median(values)) @ (1 << np.arange(64, dtype=np.uint64)))


def hashes_of(images: ImageSet, *, workers: int = 2, quiet: bool = False) -> Hashes:
    """The hash of every image of a set, uint64, shape (images,).

    Raises:
        InputError: an image cannot be read; the message names the file.
    """
    names = images.images["image"].tolist()
    found = np.empty(len(names), np.uint64)
    with ThreadPoolExecutor(max(1, workers)) as threads, progress(len(names), "Hashing", "images", quiet=quiet) as bar:
        for k, value in enumerate(threads.map(lambda name: hash_of(_grey(images, name)), names)):
            found[k] = value
            bar.advance()
    return found


def _grey(images: ImageSet, name: str) -> NDArray[Any]:
    cv, path = cv2(), images.file(name)
    # JPEG files come out at a quarter of their size almost for free, which is more than a hash needs.
    large = min(images.images[["width", "height"]].iloc[images.position(name)]) >= 8 * _EDGE
    data = np.frombuffer(read_bytes(path), np.uint8)
    image = cv.imdecode(data, cv.IMREAD_REDUCED_GRAYSCALE_4 if large else cv.IMREAD_GRAYSCALE) if len(data) else None
    if image is None:
        raise InputError("The image file is empty or damaged", where=path)
    found: NDArray[Any] = image
    return found


def pairs_of(hashes: Hashes, bits: int = BITS, apart: NDArray[Any] | None = None) -> pd.DataFrame:
    """All pairs of hashes that differ in so many bits or fewer.

    The hashes are cut into four bands: of two that differ in ``bits``, one band differs in a quarter of them at most,
    so that only hashes are compared that nearly agree in one (multi-index hashing, Norouzi et al. 2012).

    Args:
        hashes: uint64, shape (n,).
        bits: 0 to 15.
        apart: what two hashes must differ in to be a pair, shape (n,), such as their part; None: any two are.

    Returns:
        ``first`` and ``second`` (positions, the smaller first) and ``distance`` (bits). Of several equal hashes (that
        are equal in ``apart``, too) the first stands for all; without ``apart`` it is also paired with each of them.
    """
    if not 0 <= bits <= _MOST_BITS:
        raise InputError(f"Near duplicates differ in 0 to {_MOST_BITS} bits, not {bits}", where="bits")
    label = np.zeros(len(hashes), np.int64) if apart is None else pd.factorize(apart)[0]
    keys = pd.DataFrame({"hash": hashes, "label": label})
    first = keys.drop_duplicates().index.to_numpy(np.int64)
    a, b = _near(hashes[first], bits, label[first] if apart is not None else None)
    pairs = pd.DataFrame({"first": first[a], "second": first[b]})
    if apart is None:
        stands = first[pd.factorize(hashes)[0]]
        rest = np.flatnonzero(stands != np.arange(len(hashes)))
        pairs = pd.concat([pairs, pd.DataFrame({"first": stands[rest], "second": rest})])
    low, high = pairs.min(axis=1).to_numpy(np.int64), pairs.max(axis=1).to_numpy(np.int64)
    found = pd.DataFrame({"first": low, "second": high,
                          "distance": np.bitwise_count(hashes[low] ^ hashes[high]).astype(np.int64)})
    return found.sort_values(["first", "second"], ignore_index=True)


def _near(hashes: Hashes, bits: int, label: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of pairs, each once."""
    found: list[NDArray[np.int64]] = []
    least, more = divmod(bits, _BANDS)
    for band in range(_BANDS):
        value = ((hashes >> np.uint64(band * _WIDTH)) & np.uint64((1 << _WIDTH) - 1)).astype(np.int64)
        order = np.argsort(value, kind="stable")
        size = np.bincount(value, minlength=1 << _WIDTH)
        start = np.cumsum(size) - size
        # If the first more + 1 bands differed in least + 1 bits each and the others in least, it would be bits + 1.
        for mask in _masks(least if band <= more else least - 1):
            low, count = start[value ^ mask], size[value ^ mask]
            for rows in _portions(count):
                a = np.repeat(rows, count[rows])
                step = np.arange(len(a)) - np.repeat(np.cumsum(count[rows]) - count[rows], count[rows])
                b = order[np.repeat(low[rows], count[rows]) + step]
                kept = (a < b) & (np.bitwise_count(hashes[a] ^ hashes[b]) <= bits)
                if label is not None:
                    kept &= label[a] != label[b]
                found.append(np.stack([a[kept], b[kept]], axis=1))
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), np.int64)
    return pairs[:, 0], pairs[:, 1]


def _masks(radius: int) -> Iterator[int]:
    for count in range(radius + 1):
        for places in combinations(range(_WIDTH), count):
            yield sum(1 << place for place in places)


def _portions(count: NDArray[Any], most: int = 1 << 22) -> Iterator[NDArray[np.int64]]:
    """Rows in portions of about so many candidates, so that memory stays bounded."""
    rows = np.flatnonzero(count)
    total = np.cumsum(count[rows]) // most
    yield from (rows[total == k].astype(np.int64) for k in np.unique(total))


def near_duplicates(images: ImageSet, bits: int = BITS, *, apart: NDArray[Any] | None = None, workers: int = 2,
                    quiet: bool = True) -> pd.DataFrame:
    """Pairs of images of a set that look alike; see :func:`pairs_of`.

    Args:
        images: the set.
        bits: of 64, up to which hashes may differ.
        apart: what two images must differ in, shape (images,).
        workers: threads.
        quiet: no progress on stderr.

    Returns:
        ``image``, ``other`` (names), ``distance`` (bits).

    Raises:
        InputError: an image cannot be read.
    """
    pairs = pairs_of(hashes_of(images, workers=workers, quiet=quiet), bits, apart)
    names = images.images["image"].to_numpy(object)
    return pd.DataFrame({"image": names[pairs["first"]], "other": names[pairs["second"]],
                         "distance": pairs["distance"]})
