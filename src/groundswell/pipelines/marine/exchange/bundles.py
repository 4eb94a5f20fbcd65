"""marine: what people send back, whether a file, a folder or a zip, and which format it is in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from groundswell.core.errors import InputError
from groundswell.core.files import inside, parse_json
from groundswell.pipelines.marine.exchange.archive_safety import Limits, open_zip
from groundswell.pipelines.marine.exchange.coco import is_coco, read_coco
from groundswell.pipelines.marine.exchange.cvat import parse_xml, read_cvat
from groundswell.pipelines.marine.exchange.entries import Entry, Findings
from groundswell.pipelines.marine.exchange.labelstudio import is_labelstudio, read_labelstudio
from groundswell.pipelines.marine.exchange.package import MANIFEST
from groundswell.pipelines.marine.exchange.yolo import label_files, read_yolo

Format = Literal["coco", "yolo", "cvat", "labelstudio"]
FORMATS: tuple[str, ...] = get_args(Format)
_MOST_BYTES = Limits().file_bytes


@dataclass(frozen=True)
class Bundle:
    """Files that belong together.

    Attributes:
        names: of the files, relative, with single slashes.
        read: bytes of one.
    """

    names: tuple[str, ...]
    read: Callable[[str], bytes]


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a file, a folder or a zip.

    Raises:
        InputError: there is none, or it is a hostile zip.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() == ".zip":
        with open_zip(path) as archive:
            yield Bundle(archive.names, archive.read)
        return
    if path.is_file():
        root, names = path.parent, [path.name]
    elif path.is_dir():
        root = path
        found = [file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file()]
        names = [name.as_posix() for name in found if not any(part.startswith(".") for part in name.parts)]
    else:
        raise InputError("There is no such file or folder", where=path)

    def read(name: str) -> bytes:
        file = inside(root, name) if path.is_dir() else path
        try:
            if file.stat().st_size > _MOST_BYTES:
                raise InputError(f"The file has more than {_MOST_BYTES >> 20} MiB", where=file)
            return file.read_bytes()
        except OSError as error:
            raise InputError(f"Cannot be read: {error.strerror}", where=file) from error

    yield Bundle(tuple(names), read)


def read_json_bytes(data: bytes, where: str) -> Any:
    """JSON out of bytes.

    Raises:
        InputError: it is none.
    """
    try:
        return parse_json(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"Not valid JSON: {error.msg}", where=f"{where}, line {error.lineno}",
                         fix="Export it again") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"Not valid JSON: {error}", where=where, fix="Export it again") from error


def read_entries(bundle: Bundle, kind: str, findings: Findings, where: str | Path = "") -> tuple[str, list[Entry]]:
    """The format, and the images with their boxes.

    Args:
        bundle: the files.
        kind: one of :data:`FORMATS`, or "auto".
        findings: counts what cannot be used.
        where: it came from, for people.

    Raises:
        InputError: no annotations, or of several formats; or a file of the format asked for cannot be read.
    """
    if kind not in (*FORMATS, "auto"):
        raise InputError(f"'{kind}' is no format of annotations", fix=f"Choose one of {', '.join(FORMATS)}, or auto")
    by_kind: dict[str, list[tuple[str, Any]]] = {name: [] for name in FORMATS}
    strange: list[str] = []
    for name in bundle.names:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in (".json", ".xml") or PurePosixPath(name).name == MANIFEST:
            continue
        try:
            found, value = _sniffed(name, suffix, bundle.read(name))
        except InputError as error:
            strange.append(str(error))
            continue
        if found:
            by_kind[found].append((name, value))
    by_kind["yolo"] = [(name, None) for name in label_files(bundle.names)]
    there = [name for name in FORMATS if by_kind[name]]
    if kind == "auto" and len(there) > 1:
        raise InputError(f"There are annotations of several formats: {', '.join(there)}", where=where,
                         fix="Say by --kind which to import")
    if (kind == "auto" and not there) or (kind != "auto" and kind not in there):
        raise InputError(f"There are no annotations{'' if kind == 'auto' else f' of the format {kind}'}"
                         + (f"; {len(strange)} file(s) cannot be read, first: {strange[0]}" if strange else ""),
                         where=where, fix=f"Give one of {', '.join(FORMATS)}")
    kind = there[0] if kind == "auto" else kind
    for told in strange:
        findings.add("unreadable", told)
    if kind == "yolo":
        return kind, read_yolo(bundle.names, bundle.read, findings)
    entries: list[Entry] = []
    for name, value in by_kind[kind]:
        reader: Callable[[Any, str, Findings], list[Entry]] = {
            "coco": read_coco, "cvat": read_cvat, "labelstudio": read_labelstudio}[kind]
        entries += reader(value, name, findings)
    return kind, entries


def _sniffed(name: str, suffix: str, data: bytes) -> tuple[str, Any]:
    """Which format a file is in, empty for none, and what its reader takes."""
    if suffix == ".xml":
        return ("cvat" if parse_xml(data, name).tag == "annotations" else ""), data
    value = read_json_bytes(data, name)
    return ("coco" if is_coco(value) else "labelstudio" if is_labelstudio(value) else ""), value
