"""das: compressed chunks of HDF5 arrays undone outside the HDF5 library, so that threads need not wait for its lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.das.formats.hdf5_index import BLOSC, DEFLATE, FLETCHER32, LZ4, LZF, SHUFFLE, ZSTD, FileIndex
from groundswell.pipelines.das.formats.hdf5_scratch import SCRATCH

Bytes = NDArray[np.uint8]


class Undecodable(Exception):
    """A chunk that does not decode here; what the library makes of it counts."""


def _decoder(code: int) -> Callable[..., Any]:
    import imagecodecs

    if code == BLOSC:
        return lambda raw, out: imagecodecs.blosc_decode(raw, numthreads=1, out=out)
    found: dict[int, Callable[..., Any]] = {DEFLATE: imagecodecs.deflate_decode, LZF: imagecodecs.lzf_decode,
                                            LZ4: imagecodecs.lz4h5_decode, ZSTD: imagecodecs.zstd_decode}
    return found[code]


def decode(raw: Bytes, index: FileIndex, mask: int, into: Bytes | None) -> tuple[Bytes, bool]:
    """Undo the filters of one chunk.

    Args:
        raw: the chunk as stored.
        index: of its array.
        mask: filters that were skipped for it, by bit.
        into: where the chunk is wanted, if it may be written there; it may be left untouched all the same.

    Returns:
        its bytes (``into``, or memory of this thread that lasts until the next chunk), and whether they are still
        shuffled: all first bytes of the samples, then all second ones, and so on. Bringing them together while they are
        copied saves a pass over them.

    Raises:
        Undecodable: damaged, or of a kind not known here.
    """
    length = index.chunk[0] * index.chunk[1] * index.dtype.itemsize
    held, shuffled = raw, False
    for place in reversed(range(len(index.filters))):
        code = index.filters[place][0]
        if mask >> place & 1:
            continue
        if code == SHUFFLE:
            shuffled = index.dtype.itemsize > 1
        elif code == FLETCHER32:
            held = _checked(held)
        else:
            inner = length + 4 * sum(c == FLETCHER32 and not mask >> p & 1
                                     for p, (c, _) in enumerate(index.filters[:place]))
            plain = into is not None and not any(not mask >> p & 1 for p in range(place))
            held = _undone(code, held, into if plain and into is not None else SCRATCH.take("decoded", inner))
    if len(held) != length:
        raise Undecodable(f"a chunk has {len(held)} bytes instead of {length}")
    return held, shuffled


def _undone(code: int, raw: Bytes, out: Bytes) -> Bytes:
    try:
        made = _decoder(code)(raw, out=out)
    except (RuntimeError, ValueError) as error:
        raise Undecodable(str(error)) from error
    if len(made) != len(out):
        raise Undecodable(f"a chunk has {len(made)} bytes instead of {len(out)}")
    return out


def _checked(stored: Bytes) -> Bytes:
    import imagecodecs

    body, checksum = stored[:-4], int.from_bytes(stored[-4:].tobytes(), "little")
    given: Any = body
    if imagecodecs.h5checksum_fletcher32(given) != checksum:
        raise Undecodable("a chunk's checksum does not hold")
    return body


def unshuffle(planes: Bytes, index: FileIndex, rows: slice, columns: slice, out: NDArray[Any]) -> None:
    """Put part of a shuffled chunk together.

    Args:
        planes: the chunk's bytes.
        index: of its array.
        rows, columns: the part.
        out: shape of the part, any dtype and strides.
    """
    size = index.dtype.itemsize
    parts = planes.reshape(size, *index.chunk)[:, rows, columns]
    target = out
    if out.dtype.newbyteorder("=") != index.dtype.newbyteorder("=") or out.strides[1] != size:
        flat = SCRATCH.take("unshuffled", out.size * size)
        target = flat.view(index.dtype).reshape(out.shape)
    if target.dtype.isnative != index.dtype.isnative:
        parts = parts[::-1]  # the other byte order is the same bytes the other way round
    if size in (2, 4):
        # As numbers, which processors do many at a time of, unlike bytes laid at every other place.
        words = target.view(f"<u{size}")
        words[...] = parts[size - 1]
        for place in range(size - 2, -1, -1):
            words <<= 8
            words |= parts[place]
    else:
        samples = target.view(np.uint8).reshape(*target.shape, size)
        for place in range(size):
            samples[:, :, place] = parts[place]
    if target is not out:
        np.copyto(out, target, casting="unsafe")
