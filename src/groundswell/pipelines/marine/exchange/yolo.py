"""marine: YOLO text files as annotation tools write them: every line that can be used is; the others are counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.exchange.entries import Entry, Findings, Shape, around, numbers
from groundswell.pipelines.marine.formats.yolo import names_of

_LISTS = frozenset({"classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt"})
_SETTINGS = frozenset({"data.yaml", "dataset.yaml", "data.yml", "dataset.yml"})
_OTHERS = frozenset({"train.txt", "val.txt", "valid.txt", "test.txt", "readme.txt", "license.txt", "notes.txt",
                     "readme.roboflow.txt", "readme.dataset.txt", "requirements.txt"})


def label_files(names: Sequence[str]) -> list[str]:
    """Those of the files that hold boxes; where there is a folder ``labels``, only those in one."""
    found = [name for name in names if PurePosixPath(name).suffix.lower() == ".txt"
             and PurePosixPath(name).name.lower() not in _OTHERS | _LISTS]
    inside = [name for name in found if "labels" in PurePosixPath(name).parts[:-1]]
    return inside or found


def read_yolo(names: Sequence[str], read: Callable[[str], bytes], findings: Findings) -> list[Entry]:
    """Images of a YOLO folder, with their boxes. An empty text file is an image without animals; an image without a
    text file is not reviewed. Classes are named by ``data.yaml`` or ``classes.txt``; else they stay numbers, of
    which only a package can tell what they mean.

    Raises:
        InputError: the list of classes cannot be read.
    """
    classes = _classes(names, read)
    entries: list[Entry] = []
    for name in label_files(names):
        entry = Entry(f"{PurePosixPath(name).stem}.txt", unit=(1.0, 1.0))
        try:
            lines = _text(name, read(name)).splitlines()
        except InputError as error:
            findings.add("unreadable", str(error))
            continue
        for number, line in enumerate(lines, start=1):
            if line.strip():
                with findings.of(entry):
                    shape = _shape(line.split(), classes, f"{name}, line {number}", findings)
                if shape is not None:
                    entry.shapes.append(shape)
        entries.append(entry)
    return entries


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("This is no text", where=name, fix="Take it out, and import again") from error


def _classes(names: Sequence[str], read: Callable[[str], bytes]) -> dict[int, str] | None:
    for name in names:
        if PurePosixPath(name).name.lower() in _SETTINGS:
            try:
                value: Any = yaml.safe_load(_text(name, read(name)))
            except (yaml.YAMLError, ValueError, RecursionError) as error:
                raise InputError(f"Not valid YAML: {error}", where=name) from error
            told = value.get("names") if isinstance(value, dict) else None
            if isinstance(told, list):
                return {number: str(one) for number, one in enumerate(told)}
            if isinstance(told, dict) and all(isinstance(key, int) for key in told):
                return {int(key): str(one) for key, one in told.items()}
            raise InputError("The list of classes ('names') is missing", where=name)
    for name in names:
        if PurePosixPath(name).name.lower() in _LISTS:
            return dict(enumerate(names_of(_text(name, read(name)), name)))
    return None


def _shape(parts: list[str], classes: dict[int, str] | None, where: str, findings: Findings) -> Shape | None:
    values = numbers(parts)
    if values is None or len(values) < 5 or not values[0].is_integer():
        findings.add("unreadable", where)
        return None
    number = int(values[0])
    if classes is not None and number not in classes:
        findings.add("outside_table", f"{where}: class {number}")
        return None
    category: str | int = number if classes is None else classes[number]
    if len(values) in (5, 6):  # a sixth is the score of a prediction that was corrected
        across, down, width, height = values[1:5]
        return Shape((across - width / 2, down - height / 2, across + width / 2, down + height / 2), category)
    if len(values) % 2 == 1:
        findings.add("outline", where)
        return Shape(around(values[1:]), category)
    findings.add("unreadable", where)
    return None
