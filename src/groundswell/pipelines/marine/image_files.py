"""marine: single image files: decoded whole or refused with a reason, encoded, and named so that they stay in place."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.vision import cv2

Picture = NDArray[np.uint8]
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
"""Of the files in a set of images."""
READABLE = SUFFIXES | {".bmp", ".tif", ".tiff", ".webp"}
"""Of files that images are read from."""
QUALITY = 95
"""Of JPEG files that are written."""
_NAME = re.compile(r"[^/\\\x00-\x1f]{1,200}")
_END_OF_PNG = b"IEND\xaeB`\x82"


def looks_readable(path: Path) -> bool:
    """Whether a name is that of an image: by its ending, and not hidden (a file ``._dive.jpg`` holds no picture)."""
    return path.suffix.lower() in READABLE and not path.name.startswith(".")


def check_name(name: str) -> str:
    """The name, seen to be a plain one.

    Raises:
        InputError: it is empty, hidden, too long, or has a slash or a control character in it.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("."):
        raise InputError(f"An image cannot be called {name!r}",
                         fix="Names are up to 200 characters without slashes, and do not begin with a dot")
    return name


def checksum(data: bytes) -> str:
    """blake2b of the bytes, 16 bytes long, hexadecimal."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decode(data: bytes, where: str | Path, *, upright: bool = True) -> Picture:
    """An image out of the bytes of its file, uint8 (h, w, 3), RGB.

    Args:
        data: the file's bytes.
        where: the file, for messages.
        upright: turn it as its EXIF orientation says, as those who look at it see it.

    Raises:
        InputError: it is empty, cut off, or no image.
    """
    fix = "Fetch the file again, or take it out of the set"
    if not data:
        raise InputError("The image file is empty", where=where, fix=fix)
    if _cut_off(data):
        raise InputError("The image file is cut off", where=where, fix=fix)
    cv = cv2()
    flags = cv.IMREAD_COLOR if upright else cv.IMREAD_COLOR | cv.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv.error as error:
        raise InputError(f"The image cannot be decoded: {error.err}", where=where, fix=fix) from error
    if image is None or image.ndim != 3 or not image.size:
        raise InputError("This is no image, or a damaged one", where=where, fix=fix)
    found: Picture = cv.cvtColor(image, cv.COLOR_BGR2RGB)
    return found


def _cut_off(data: bytes) -> bool:
    """Whether a JPEG or PNG file ends before its picture does: the decoder would fill the rest with grey.

    Other things may follow the picture, such as the film of a phone's moving picture.
    """
    if data.startswith(b"\x89PNG"):
        return _END_OF_PNG not in data
    if not data.startswith(b"\xff\xd8"):
        return False
    # Segments are passed over by their lengths: a small picture in the EXIF data has an end of its own.
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xDA:  # the picture itself, in which no other byte than 0 follows 0xFF until its end
            return data.find(b"\xff\xd9", at) < 0
        at += 1 if kind == 0xFF else 2 + int.from_bytes(data[at + 2:at + 4], "big")
    return b"\xff\xd9" not in data[at:]


def read_bytes(path: Path) -> bytes:
    """What a file holds.

    Raises:
        InputError: missing or unreadable.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("There is no such image", where=path) from error
    except OSError as error:
        raise InputError(f"The image cannot be read: {error.strerror}", where=path) from error


def read_image(path: Path) -> Picture:
    """An image file as uint8 (h, w, 3), RGB, turned upright.

    Raises:
        InputError: missing, empty, cut off, or no image; the message names the file.
    """
    return decode(read_bytes(path), path)


def encode(image: Picture, suffix: str = ".jpg") -> bytes:
    """The bytes of a file of an image, uint8 (h, w, 3) RGB: JPEG of quality 95, or PNG.

    Raises:
        InputError: it has another shape or type.
    """
    cv = cv2()
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"An image is uint8 (h, w, 3), not {image.dtype} {image.shape}")
    options = [cv.IMWRITE_JPEG_QUALITY, QUALITY] if suffix in (".jpg", ".jpeg") else [cv.IMWRITE_PNG_COMPRESSION, 3]
    done, data = cv.imencode(suffix, cv.cvtColor(image, cv.COLOR_RGB2BGR), options)
    if not done:
        raise InputError(f"An image of shape {image.shape} cannot be written as {suffix}")
    return bytes(data)
