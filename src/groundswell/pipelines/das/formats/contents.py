"""das: what is in an HDF5 file: groups, arrays and attributes, read with their faults named and no link followed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from groundswell.core.errors import InputError
from groundswell.core.files import is_full


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file, read-only.

    Raises:
        InputError: not HDF5, truncated, damaged, or being written by another process.
    """
    try:
        file = h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        raise InputError(f"The HDF5 file cannot be opened: {reason_of(error)}", where=path,
                         fix="Copy it again from its source, or leave it out") from error
    try:
        with file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        if is_full(error):  # of what is being written meanwhile: reading needs no space
            raise
        raise InputError(f"The HDF5 file is damaged: {reason_of(error)}", where=path,
                         fix="Copy it again from its source, or leave it out") from error


def reason_of(error: Exception) -> str:
    """What HDF5 says of an error, without the chain of calls it passed through."""
    text = str(error).strip("'\"")
    if "truncated file" in text:
        return "it is truncated; its end is missing"
    if "unable to lock" in text.lower():
        return "another process is writing it"
    inner = text[text.find("(") + 1:text.rfind(")")] if "(" in text and ")" in text else text
    return inner or type(error).__name__


def members(group: h5py.Group) -> Iterator[tuple[str, h5py.HLObject]]:
    """Names and objects of a group that are in this file; links to other places are not followed."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield name, group[name]


def _child(group: h5py.Group, path: str) -> h5py.HLObject | None:
    node: h5py.HLObject = group
    for name in path.split("/"):
        if not isinstance(node, h5py.Group) or not isinstance(node.get(name, getlink=True), h5py.HardLink):
            return None
        node = node[name]
    return node


def array(group: h5py.Group, path: str) -> h5py.Dataset | None:
    """The data set at ``path`` below ``group``, if it is one and in this file."""
    found = _child(group, path)
    return found if isinstance(found, h5py.Dataset) else None


def subgroup(group: h5py.Group, path: str) -> h5py.Group | None:
    """The group at ``path`` below ``group``, if it is one and in this file."""
    found = _child(group, path)
    return found if isinstance(found, h5py.Group) else None


def two_dimensional(dataset: h5py.Dataset | None) -> bool:
    """Whether there is a data set, of two axes."""
    return dataset is not None and len(dataset.shape or ()) == 2


def value(node: h5py.HLObject, name: str) -> Any:
    """An attribute, or a scalar data set below a group, as a Python or numpy value; ``None`` if it has none."""
    try:
        found = node.attrs.get(name)
        if found is None and isinstance(node, h5py.Group):
            inner = array(node, name)
            if inner is not None and inner.size is not None and inner.size <= 16:
                found = inner[()]
    except (OSError, KeyError, TypeError, ValueError, RuntimeError):
        return None  # an attribute of a type that nobody can read says nothing
    return None if isinstance(found, h5py.Empty) else found


def number(node: h5py.HLObject, *names: str) -> float | None:
    """The first of ``names`` that holds a finite number; an array counts by its first element."""
    for name in names:
        found = np.ravel(np.asarray(value(node, name)))
        if found.size == 0 or found[0] is None:
            continue
        first = found[0].decode(errors="replace") if isinstance(found[0], bytes) else found[0]
        try:
            # The shortest text of a single-precision number is what its writer meant: 0.1, not 0.10000000149.
            as_float = float(str(first)) if isinstance(first, np.float32) else float(first)
        except (TypeError, ValueError):
            continue
        if np.isfinite(as_float):
            return as_float
    return None


def words(node: h5py.HLObject, *names: str) -> list[str]:
    """The first of ``names`` that holds text, as a list; one text with commas or spaces is split."""
    for name in names:
        found = [item.decode(errors="replace") if isinstance(item, bytes) else item
                 for item in np.ravel(np.asarray(value(node, name)))]
        texts = [item.strip() for item in found if isinstance(item, str) and item.strip()]
        if texts:
            return texts[0].replace(",", " ").split() if len(texts) == 1 else texts
    return []


def text(node: h5py.HLObject, *names: str) -> str:
    """The first of ``names`` that holds text; empty if none does, or if it says that nothing is known."""
    for name in names:
        found = np.ravel(np.asarray(value(node, name)))
        if found.size and isinstance(found[0], (bytes, str)):
            shown = found[0].decode(errors="replace") if isinstance(found[0], bytes) else str(found[0])
            if shown.strip() and shown.strip().lower() not in ("nan", "none", "unitless"):
                return shown.strip()
    return ""


def arrays(file: h5py.File) -> list[h5py.Dataset]:
    """Every data set that is in this file, each once; links are not followed."""
    found: list[h5py.Dataset] = []

    def look(_: str, node: h5py.HLObject) -> None:
        if isinstance(node, h5py.Dataset):
            found.append(node)

    file.visititems(look)
    return found


def external_links(file: h5py.File) -> list[tuple[str, str]]:
    """``(path of the link, what it leads to)`` for every link into another file."""
    found: list[tuple[str, str]] = []

    def look(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            found.append((name, f"{link.filename}:{link.path}"))

    file.visititems_links(look)
    return found
