"""marine: plain folders of images, without boxes."""

from __future__ import annotations

from pathlib import Path

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.formats.listing import LEADS_OUT, Item, Listing, images_below, part_of


def read_folder(folder: Path) -> Listing:
    """Every image below a folder; none is annotated.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("There is no such folder", where=folder)
    listing = Listing("folder", folder, ())
    for path in images_below(folder, leaving=lambda path: listing.refuse_file(path.relative_to(folder).as_posix(),
                                                                              LEADS_OUT)):
        key = path.relative_to(folder).as_posix()
        listing.add(Item(path, key, facts={"published_split": part_of(key)}))
    if not listing.items and not listing.refused:
        raise InputError("There is no image in this folder", where=folder,
                         fix="Images are JPEG, PNG, BMP, TIFF or WebP files")
    return listing
