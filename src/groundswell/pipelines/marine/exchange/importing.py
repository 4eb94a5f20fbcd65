"""marine: annotations taken back: checked against the package and the table, counted, and made into a set of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from groundswell.core.errors import InputError
from groundswell.core.files import write_json, write_text
from groundswell.pipelines.marine.exchange.archive_safety import open_zip
from groundswell.pipelines.marine.exchange.bundles import Bundle, open_bundle, read_entries, read_json_bytes
from groundswell.pipelines.marine.exchange.entries import HARMLESS, Entry, Findings
from groundswell.pipelines.marine.exchange.package import FORMAT, MANIFEST, categories
from groundswell.pipelines.marine.exchange.reporting import report_of, text_of
from groundswell.pipelines.marine.exchange.resolving import Classes, Names, resolved
from groundswell.pipelines.marine.image_files import checksum, decode, read_bytes
from groundswell.pipelines.marine.images import ImageSet, ImageWriter
from groundswell.pipelines.marine.species import SpeciesTable, load_species

REPORT = "import.json"
Empties = Literal["auto", "reviewed", "unreviewed"]
_WORKED_OUT = frozenset({"image", "file", "width", "height", "checksum", "annotated"})


@dataclass(frozen=True)
class Imported:
    """What :func:`import_boxes` made.

    Attributes:
        images: the new set.
        report: counts and findings, for JSON.
        text: the same for a person.
        lost: whether anything of what was drawn could not be used.
    """

    images: ImageSet
    report: dict[str, Any]
    text: str
    lost: bool


@dataclass
class _Package:
    """What the manifest of the package says; without one, the whole set is the package."""

    images: frozenset[str]
    numbered: dict[int, str]
    sha256: dict[str, str] = field(default_factory=dict)
    manifest: bool = False


def import_annotations(annotations: Path, images: Path, out: Path, package: Path | None = None,
                       kind: str = "auto") -> list[str]:
    """Import boxes that people drew on images of a set; see :func:`import_boxes`.

    Returns:
        Lines for a person: what was imported, and every finding.
    """
    done = import_boxes(annotations, ImageSet.open(images), out, package=package, kind=kind)
    return [*done.text.splitlines(), f"Wrote {done.images.path} and the report in {done.images.path / REPORT}"]


def import_boxes(source: Path, images: ImageSet, out: Path, *, package: Path | None = None,
                 species: SpeciesTable | None = None, kind: str = "auto", empties: Empties = "auto",
                 keep_others: bool = False) -> Imported:
    """Import boxes that people drew on images of a set. What can be used is; everything else is counted.

    The new set has the reviewed images, those without animals among them (``annotated``, and no box), and the set's
    classes followed by those species of the table that were drawn and are new. ``import.json`` and ``import.txt`` in
    it hold the report.

    Args:
        source: COCO JSON, CVAT or Label Studio file; a folder or zip with one of them or with YOLO text files; or the
            package itself, with boxes in it.
        images: the set that the images are of.
        out: the new set.
        package: the package that was sent; its manifest says which images were, and their checksums. When absent, the
            manifest in ``source``, if there is one.
        species: the table; Groundswell's own when absent.
        kind: coco, yolo, cvat or labelstudio; or auto.
        empties: whether an image that COCO or CVAT list without a box counts as reviewed; auto: it does, but a file
            without any box at all is refused, for it may be the one that was sent.
        keep_others: also take the set's other images over, as they are.

    Raises:
        InputError: nothing of it can be used, a file is none or hostile, its classes are numbers that nothing gives a
            name, or there is something at ``out``; nothing is written then.
        MissingExtraError: CVAT, and defusedxml is not installed.
    """
    findings, table = Findings(), species or load_species()
    with open_bundle(Path(source)) as bundle:
        sent = _sent(bundle, package, images, table)
        kind, entries = read_entries(bundle, kind, findings, source)
        changed = _changed(bundle, sent)
    _check_numbers(entries, sent, findings, source)
    if kind in ("coco", "cvat") and empties == "auto" and not any(entry.shapes for entry in entries):
        raise InputError("There is not one box in it: this looks like the file that was sent out", where=source,
                         fix="Have the annotations exported; or say that images without a box are reviewed")
    for entry in entries:
        if kind in ("coco", "cvat") and empties == "unreviewed" and not entry.shapes:
            entry.reviewed = False
    work = _Import(images, sent, changed, Classes(images.classes, images.species, table, sent.numbered), findings)
    found = list(work.run(entries))
    if not found:
        told = "; ".join(f"{row['says']}: {row['count']}" for row in findings.listed())
        raise InputError(f"Not one reviewed image can be used ({told or 'there are none'})", where=source,
                         fix="Look whether these annotations are of this set")
    made = work.write(Path(out), found, keep_others)
    report = report_of(source, kind, len(sent.images), [(boxes, whole) for _, boxes, whole in found], made, findings,
                       drawn=sum(len(entry.shapes) for entry in entries))
    text = text_of(report)
    write_json(made.path / REPORT, report)
    write_text(made.path / "import.txt", text)
    return Imported(made, report, text, any(name not in HARMLESS for name in findings.count))


def _sent(bundle: Bundle, package: Path | None, images: ImageSet, table: SpeciesTable) -> _Package:
    """The package that was sent."""
    known = frozenset(images.images["image"])
    if package is None and MANIFEST not in bundle.names:
        return _Package(known, {row["id"]: row["name"] for row in categories(images, table)})
    if package is not None:
        with open_zip(package) as archive:
            if MANIFEST not in archive.names:
                raise InputError(f"This is no package: it has no {MANIFEST}", where=package)
            value = read_json_bytes(archive.read(MANIFEST), f"{package}: {MANIFEST}")
    else:
        value = read_json_bytes(bundle.read(MANIFEST), MANIFEST)
    try:
        if value["format"] != FORMAT:
            raise InputError(f"The manifest is not of a '{FORMAT}'", where=package or MANIFEST)
        names = {str(row["image"]): str(row["file"]) for row in value["images"]}
        return _Package(frozenset(names), {int(row["id"]): str(row["name"]) for row in value["categories"]},
                        {name: str(value["files"][file]["sha256"]) for name, file in names.items()}, manifest=True)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"The manifest lacks something or holds something else: {error!r}", where=package or MANIFEST,
                         fix="Take the manifest of the package that was sent") from error


def _check_numbers(entries: list[Entry], sent: _Package, findings: Findings, source: Path) -> None:
    """See that classes which are numbers alone are ids of a package: a YOLO folder counts its classes as it likes.

    Raises:
        InputError: no package says so.
    """
    numbered = [entry.name for entry in entries for shape in entry.shapes if isinstance(shape.category, int)]
    if numbered and not sent.manifest:
        raise InputError(f"The classes of {len(numbered)} box(es) are numbers, and no list says which class has which "
                         "number", where=source, fix="Put the list of names beside them (dataset.yaml, data.yaml or "
                         "classes.txt); or, if the numbers are the ids of a package, name that by --package")
    for name in numbered:
        findings.add("numbered", name)


def _changed(bundle: Bundle, sent: _Package) -> frozenset[str]:
    """Images that came back with other bytes than they were sent with."""
    names, changed = Names(tuple(sent.sha256)), set()
    for file in bundle.names:
        if PurePosixPath(file).suffix.lower() in (".jpg", ".jpeg", ".png") and "thumbnails" not in file.split("/"):
            image = names.of(file)
            if image is not None and hashlib.sha256(bundle.read(file)).hexdigest() != sent.sha256[image]:
                changed.add(image)
    return frozenset(changed)


@dataclass
class _Import:
    """From entries to images of the new set."""

    images: ImageSet
    sent: _Package
    changed: frozenset[str]
    classes: Classes
    findings: Findings

    def run(self, entries: list[Entry]) -> Iterator[tuple[str, dict[str, Any], bool]]:
        """Reviewed images in the set's order, each with its boxes and whether every animal drawn has one."""
        by_image = self._by_image(entries)
        size = self.images.images.set_index("image")[["width", "height"]]
        for name in self.images.images["image"]:
            if name not in self.sent.images:
                continue
            entry = by_image.get(name)
            if entry is None or not entry.reviewed:
                self.findings.add("not_reviewed", name)
            elif self._whole(name):
                width, height = (int(side) for side in size.loc[name])
                with self.findings.of(entry):
                    boxes = resolved(entry, name, width, height, self.classes, self.findings)
                if boxes is not None:
                    if not entry.complete:
                        self.findings.add("incomplete_image", name)
                    yield name, boxes, entry.complete

    def _by_image(self, entries: list[Entry]) -> dict[str, Entry]:
        names = Names(tuple(self.sent.images & frozenset(self.images.images["image"])))
        found: dict[str, Entry] = {}
        for entry in entries:
            name = names.of(entry.name)
            if name is None:
                self.findings.add("foreign_image", entry.name)
            elif name not in found:
                found[name] = entry
            else:
                self.findings.add("repeated_image", name)
                if (entry.unit, entry.stated) == (found[name].unit, found[name].stated):
                    found[name].shapes += entry.shapes
                    found[name].reviewed |= entry.reviewed
                    found[name].complete &= entry.complete
                else:
                    self.findings.add("size_disagrees", f"{name}, the second time")
        return found

    def _whole(self, name: str) -> bool:
        """Whether the set still has the image that was sent, and it came back unchanged."""
        try:
            data = read_bytes(self.images.file(name))
            decode(data, name)
        except InputError:
            self.findings.add("broken_image", name)
            return False
        stated = self.images.images["checksum"].iloc[self.images.position(name)]
        same = checksum(data) == stated and self.sent.sha256.get(name) in (None, hashlib.sha256(data).hexdigest())
        if not same or name in self.changed:
            self.findings.add("changed_image", name)
            return False
        return True

    def write(self, out: Path, found: list[tuple[str, dict[str, Any], bool]], keep_others: bool) -> ImageSet:
        """The new set."""
        drawn, images = {name: (boxes, whole) for name, boxes, whole in found}, self.images
        note = {**images.note, "imported": {"from": images.fingerprint(), "images": len(drawn)}}
        with ImageWriter(out, classes=self.classes.names, species=self.classes.species, note=note,
                         preparation=images.preparation) as writer:
            for row in images.images.to_dict("records"):
                name = str(row["image"])
                columns = {str(key): value for key, value in row.items() if key not in _WORKED_OUT}
                if name in drawn:
                    boxes, whole = drawn[name]
                    writer.add(name, images.file(name), annotated=whole, **boxes, **columns)
                elif keep_others:
                    old = images.annotations(name)
                    writer.add(name, images.file(name), annotated=bool(row["annotated"]), boxes=old.boxes,
                               label=old.label, track=old.track, crowd=old.crowd, **columns)
        return writer.set
