"""marine: DeepFish, or another archive of images: fetched by pieces, looked over, and made into an unlabelled set."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from groundswell.core.errors import InputError
from groundswell.core.files import shortened, write_text
from groundswell.core.progress import progress, say
from groundswell.pipelines.marine.acquire.http import download
from groundswell.pipelines.marine.acquire.shrinking import fitted
from groundswell.pipelines.marine.acquire.tars import DOWNLOADED, open_tar
from groundswell.pipelines.marine.acquire.web import Patience, plain_address
from groundswell.pipelines.marine.exchange.archive_safety import Limits
from groundswell.pipelines.marine.image_files import READABLE, checksum
from groundswell.pipelines.marine.images import ImageWriter
from groundswell.pipelines.marine.species import load_species

DEEPFISH = ("http://data.qld.edu.au/public/Q5842/2020-AlzayatSaleh-00e364223a600e83bd9c3f5bcd91045-DeepFish/"
            "DeepFish.tar")
"""Where the authors of Saleh et al., Scientific Reports 10, 14671 (2020) put it; about 7 GB."""
_FRAME = re.compile(r"(?P<clip>.*?)_?f(?P<frame>\d{1,9})", re.IGNORECASE)
_PLACE = re.compile(r"\d{3,}")
_MASKS = frozenset({"mask", "masks", "labels"})
_FISH = 35
"""Id of unidentified fish: what an image could be annotated with, though it is not."""
_ODD = re.compile(r"[^\w.-]+")


def download_deepfish(out: Path, url: str = "", *, sha256: str = "", patience: Patience | None = None,
                      limits: Limits = DOWNLOADED, keep: bool = False) -> list[str]:
    """Fetch a tar archive of images and make a set of images without boxes of it. Resumable.

    The archive is kept beside the set, as ``<out>.<name>``, until the set is there: the same call goes on after a kill.
    One that was fetched and cannot be used, or came from another address, is set aside as ``<out>.<name>.aside``.
    Masks are passed over, and so is an image that is there twice. Images are shrunk to 1920 x 1080. The clip of an
    image is the place that its name begins with (DeepFish numbers its habitats), else its name up to the frame.

    Args:
        out: the set.
        url: a ``.tar`` or ``.tar.gz``, by http or https, or a file that is here already; DeepFish when empty.
        sha256: of the archive, or empty.
        patience: tries and waits.
        limits: of the archive.
        keep: leave a fetched archive where it is.

    Returns:
        Lines for a person.

    Raises:
        InputError: there is something at ``out``; no such archive; it is hostile, damaged, or has no image in it.
        FailureError: it did not arrive, or the disk is full; what has arrived stays.
    """
    out, url = Path(out), url or DEEPFISH
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("There is something here already", where=out, fix="Name another folder, or remove this one")
    if not url.startswith(("http://", "https://")) and Path(url).is_file():
        return _unpacked(Path(url), out, url, limits)
    url = plain_address(url)
    name = PurePosixPath(unquote(urlsplit(url).path)).name or "archive.tar"
    archive = out.with_name(f"{out.name}.{shortened(_ODD.sub('_', name)[-80:], 80)}")
    origin = archive.with_name(f"{archive.name}.url")
    if archive.is_file() and origin.is_file() and origin.read_text("utf-8") != url:
        _set_aside(archive)
    write_text(origin, url)  # before the first byte: an archive that is there is always of the address beside it
    try:
        with progress(None, "Downloading", "MiB") as bar:
            download(url, archive, sha256=sha256, patience=patience, arrived=_Mib(bar.advance))
        lines = _used(archive, out, url, limits)
        if not keep:
            archive.unlink()
    finally:
        if not archive.exists():
            origin.unlink()
    return lines


def _used(archive: Path, out: Path, url: str, limits: Limits) -> list[str]:
    """A set of the images in an archive that was fetched; where it is to blame that there is none, it is set aside."""
    try:
        return _unpacked(archive, out, url, limits)
    except InputError as error:
        if error.where == str(archive):
            _set_aside(archive)
        raise


def _set_aside(archive: Path) -> None:
    """Give the name of an archive free, so that it is fetched again; it may have taken a day to come, so it stays."""
    aside = archive.with_name(f"{archive.name}.aside")
    archive.replace(aside)
    say(f"The archive that was here is now {aside}; remove it when it is of no use")


class _Mib:
    """Counts bytes, and tells whole MiB."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._rest = advance, 0

    def __call__(self, count: int) -> None:
        whole, self._rest = divmod(self._rest + count, 1 << 20)
        if whole:
            self._advance(whole)


def _unpacked(archive: Path, out: Path, url: str, limits: Limits) -> list[str]:
    """A set of the images in an archive."""
    fish = load_species()[_FISH]
    seen: set[str] = set()
    names: set[str] = set()
    bad: list[str] = []
    with open_tar(archive, limits) as (members, read):
        wanted = [name for name in members if _wanted(name)]
        if not wanted:
            raise InputError(f"There is no image among the {len(members):,} files of the archive", where=archive)
        note = {"deepfish": {"from": url}}
        with ImageWriter(out, classes=[fish.common_name], species=[fish.id], note=note) as writer, \
                progress(len(wanted), "Unpacking", "images") as bar:
            for name in wanted:
                bar.advance()
                data = read(name)
                total = checksum(data)
                if total in seen:
                    continue
                seen.add(total)
                try:
                    made = fitted(data, name)
                except InputError as error:
                    bad.append(str(error))
                    continue
                called = _called(name, total, names)
                names.add(called)
                clip, frame = place_and_frame(name)
                writer.add(called, made.data, clip=clip, frame=frame, annotated=False, source="deepfish",
                           original_width=made.original[0], original_height=made.original[1])
            if not len(writer):
                raise InputError(f"None of the {len(wanted):,} images can be read; first: {bad[0]}", where=archive)
    twice = len(wanted) - len(writer) - len(bad)
    lines = [f"{len(writer):,} images without boxes in {out}; {twice:,} were there twice",
             "DeepFish: cite Saleh et al. 2020, doi 10.1038/s41598-020-71639-x."]
    return lines + ([f"{len(bad)} image(s) cannot be read and were left out, first: {bad[0]}"] if bad else [])


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in READABLE and not hidden and not _MASKS & {part.lower() for part in path.parts[:-1]}


def _called(name: str, total: str, taken: set[str]) -> str:
    stem = _ODD.sub("_", PurePosixPath(name).stem).lstrip(".")
    stem = shortened(stem, 180) or "image"
    return f"{stem}-{total[:12]}" if stem in taken else stem


def place_and_frame(name: str) -> tuple[str, int]:
    """The place that an image's name begins with, else its name up to the frame; and the frame, -1 where unknown.

    ``7117_no_fish_2_f000012.jpg`` is frame 12 of place 7117. One camera stood at each place, so its films share what
    is behind the animals.
    """
    stem = PurePosixPath(name).stem
    found = _FRAME.fullmatch(stem)
    place = _PLACE.match(stem)
    clip = place[0] if place else found["clip"] if found else ""
    return clip or stem, int(found["frame"]) if found else -1
