"""data: the manifest of a table of embeddings: which rows each of its parts holds, and how to tell them unharmed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import inside, read_json, write_text
from groundswell.data.embeddings.precision import Rounding
from groundswell.data.embeddings.spec import TableSpec

FORMAT = "groundswell embedding table 1"
NAME = "manifest.json"


@dataclass(frozen=True, eq=False)
class Part:
    """One file of rows.

    Attributes:
        file: its name in the table's folder.
        bytes: its length.
        sha256: of its content, hexadecimal.
        ids: int64 (rows,), ascending; row i of the file belongs to ids[i].
        missing: int64, ascending: positions in the file whose vector is not there (the bytes are NaN).
    """

    file: str
    bytes: int
    sha256: str
    ids: NDArray[np.int64]
    missing: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Rows in the file, those of missing vectors among them."""
        return len(self.ids)

    def verify(self, folder: Path) -> None:
        """Compare the file with its checksum; it is read whole.

        Args:
            folder: of the table.

        Raises:
            InputError: it was changed.
        """
        with open(inside(folder, self.file), "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise InputError(f"The part '{self.file}' of the table '{folder.name}' does not have the checksum it was "
                             "written with", where=folder,
                             fix="Copy it again from where it was whole, or import the embeddings again")


@dataclass(frozen=True, eq=False)
class TableManifest:
    """A table: its rows' kind, its parts in the order they were appended, the rounding, and free facts."""

    spec: TableSpec
    parts: tuple[Part, ...] = ()
    rounding: Rounding = field(default_factory=Rounding)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Length of all parts."""
        return sum(part.bytes for part in self.parts)

    def appended(self, part: Part, rounding: Rounding) -> TableManifest:
        """With one more part."""
        return replace(self, parts=(*self.parts, part), rounding=self.rounding.joined(rounding))

    def fingerprint(self) -> str:
        """Digest of the rows' kind, ids, missing marks and content; hexadecimal. Facts do not count."""
        spec = self.spec
        digest = hashlib.blake2b(json.dumps([list(spec.shape), spec.dtype, spec.key]).encode(), digest_size=16)
        for part in self.parts:
            for values in (part.ids, part.missing):
                digest.update(len(values).to_bytes(8, "little") + values.astype("<i8").tobytes())
            digest.update(bytes.fromhex(part.sha256))
        return digest.hexdigest()

    def write(self, folder: Path) -> None:
        """Replace the manifest in ``folder``, atomically."""
        head = {"format": FORMAT, "name": self.spec.name, "dtype": self.spec.dtype, "shape": list(self.spec.shape),
                "key": self.spec.key, "rounding": asdict(self.rounding), "facts": dict(self.facts)}
        lines = [f"  {json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in head.items()]
        parts = [json.dumps({"file": part.file, "rows": part.rows, "bytes": part.bytes, "sha256": part.sha256,
                             "ids": part.ids.tolist(), "missing": part.missing.tolist()}) for part in self.parts]
        listed = "\n    " + ",\n    ".join(parts) + "\n  " if parts else ""
        write_text(folder / NAME, "{\n" + ",\n".join([*lines, f'  "parts": [{listed}]']) + "\n}\n")

    @classmethod
    def read(cls, folder: Path) -> TableManifest:
        """The manifest in ``folder``, seen to fit itself and the files beside it (not their checksums).

        Raises:
            InputError: it is absent or not a manifest, contradicts itself, or a part is absent, of another length, or
                outside the folder; the message names the part.
        """
        path = folder / NAME
        value = read_json(path)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise InputError(f"This is not a '{FORMAT}'", where=path,
                             fix="It may have been written by another release; import the embeddings again")
        try:
            spec = TableSpec(value["name"], tuple(value["shape"]), value["dtype"], value["key"])
            rounding = Rounding(**value["rounding"])
            parts = tuple(_part(entry, spec) for entry in value["parts"])
            facts = dict(value["facts"])
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise InputError(f"The manifest lacks something or holds something else: {error!r}", where=path,
                             fix="Import the embeddings again") from error
        manifest = cls(spec, parts, rounding, facts)
        manifest._check(folder)
        return manifest

    def _check(self, folder: Path) -> None:
        where = folder / NAME
        if self.spec.name != folder.name:
            raise InputError(f"The manifest is of the table '{self.spec.name}'", where=where,
                             fix="A table's folder bears its name; give it back its own")
        for part in self.parts:
            file = inside(folder, part.file)
            length = file.stat().st_size if file.is_file() else None
            if length != part.bytes:
                found = "is not there" if length is None else f"has {length} bytes, not {part.bytes}"
                raise InputError(f"The part '{part.file}' {found}", where=folder,
                                 fix="Copy it again, or import the embeddings again")
        everything = np.concatenate([part.ids for part in self.parts]) if self.parts else np.empty(0, np.int64)
        if len(np.unique(everything)) != len(everything) or len({part.file for part in self.parts}) != len(self.parts):
            raise InputError("An id or a part is listed twice", where=where, fix="Import the embeddings again")


def _part(entry: Mapping[str, Any], spec: TableSpec) -> Part:
    part = Part(str(entry["file"]), int(entry["bytes"]), str(entry["sha256"]), np.array(entry["ids"], np.int64),
                np.array(entry["missing"], np.int64))
    ascending = all(values.ndim == 1 and (values[1:] > values[:-1]).all() for values in (part.ids, part.missing))
    in_range = not len(part.missing) or (part.missing[0] >= 0 and part.missing[-1] < part.rows)
    whole = part.rows == entry["rows"] > 0 and part.bytes == part.rows * spec.row_bytes
    if not (ascending and in_range and whole and re.fullmatch("[0-9a-f]{64}", part.sha256)):
        raise ValueError(f"part '{part.file}' contradicts itself")
    return part
