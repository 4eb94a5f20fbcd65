"""marine: what the parts of a division of images share: clips, neighbouring frames, copies and near duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.pipelines.marine.duplicates import BITS, Hashes, hashes_of, pairs_of
from groundswell.pipelines.marine.images import ImageSet
from groundswell.splits.manifest import EXCLUDED, PARTS, SplitManifest

TRAIN_NAMES = ("train", "training")


@dataclass(frozen=True)
class Shared:
    """What the held-out parts of one division share with its training part, in images of the held-out parts.

    Attributes:
        parts: images in each part.
        held_out: images that are not in training.
        clips: clips there are.
        straddling: of each clip that is in more than one part, the images in each.
        same_clip: held-out images of a clip that training has images of.
        copies: held-out images whose file training has, byte for byte.
        alike: held-out images that look like one of training.
        alike_elsewhere: of these, the ones that look like one of another clip.
        bits: of 64, in which images that look alike may differ.
        frames_away: of held-out images whose clip training has frames of, the median number of frames to the nearest;
            NaN where frames have no numbers.
        only_held_out: classes that held-out images have and training has none of.
    """

    parts: dict[str, int]
    held_out: int
    clips: int
    straddling: dict[str, dict[str, int]]
    same_clip: int
    copies: int
    alike: int
    alike_elsewhere: int
    bits: int = BITS
    frames_away: float = np.nan
    only_held_out: tuple[str, ...] = field(default_factory=tuple)

    @property
    def clean(self) -> bool:
        """Whether nothing is shared."""
        return not (self.straddling or self.same_clip or self.copies or self.alike)

    def sentences(self, what: str) -> list[str]:
        """The facts in words.

        Args:
            what: name of the division, as the beginning of a sentence.
        """
        counts = ", ".join(f"{name} {count:,}" for name, count in self.parts.items())
        found = [f"{what} has {sum(self.parts.values()):,} images of {self.clips} clips in {len(self.parts)} parts: "
                 f"{counts}."]
        if self.straddling:
            name, shares = next(iter(self.straddling.items()))
            example = ", ".join(f"{part} {count}" for part, count in shares.items())
            found.append(f"{len(self.straddling)} of {self.clips} clips are in more than one part, for example {name} "
                         f"({example}).")
            found.append(f"{self._of(self.same_clip)} share a clip with training.")
        else:
            found.append("No clip is in more than one part.")
        if self.frames_away == self.frames_away and self.same_clip:
            found.append(f"Half of these are {self.frames_away:.0f} frame(s) or fewer away from an image of training.")
        if self.copies:
            found.append(f"{self._of(self.copies)} are byte for byte in training.")
        elsewhere = f", {self.alike_elsewhere:,} of them like one of another clip" if self.alike_elsewhere else ""
        found.append(f"{self._of(self.alike)} look like an image of training{elsewhere} (of a perceptual hash of 64 "
                     f"bits, {self.bits} or fewer differ)." if self.alike
                     else "No held-out image looks like one of training.")
        if self.only_held_out:
            found.append(f"Training has no box of {', '.join(self.only_held_out)}, which held-out images have.")
        return found

    def _of(self, count: int) -> str:
        return f"{count:,} of {self.held_out:,} held-out images ({100 * count / max(1, self.held_out):.0f} %)"


def shared_between(images: ImageSet, part: NDArray[np.object_], *, train: str, hashes: Hashes | None = None,
                   bits: int = BITS) -> Shared:
    """What the parts of a division share.

    Args:
        images: the set.
        part: part of each image of the set, text, shape (images,); those in none, the empty text, are not looked at.
        train: name of the training part.
        hashes: of all images, if they are there already.
        bits: of 64, in which images that look alike may differ.

    Raises:
        InputError: nothing is in training, or nothing elsewhere; or an image cannot be read.
    """
    used = part != ""
    learnt, held = used & (part == train), used & (part != train)
    if not learnt.any() or not held.any():
        raise InputError(f"A division needs images in '{train}' and in another part; it has "
                         f"{', '.join(sorted(set(part[used]))) or 'none'}", where=images.path)
    frame = images.images
    clip = frame["clip"].to_numpy(object)
    table = pd.crosstab(clip[used], part[used])
    straddling = table[(table > 0).sum(axis=1) > 1]
    hashes = hashes_of(images) if hashes is None else hashes
    return Shared(
        {name: int((part == name).sum()) for name in _in_order(part[used], train)}, int(held.sum()), len(table),
        {str(name): {str(k): int(v) for k, v in row.items() if v} for name, row in straddling.iterrows()},
        int(np.isin(clip[held], clip[learnt]).sum()),
        int(np.isin(frame["checksum"].to_numpy(object)[held], frame["checksum"].to_numpy(object)[learnt]).sum()),
        int(_alike(hashes, learnt, held, None, bits).sum()), int(_alike(hashes, learnt, held, clip, bits).sum()), bits,
        _frames_away(frame, learnt, held), _only(images, learnt, held))


def _in_order(part: NDArray[np.object_], train: str) -> list[str]:
    usual = (train, "val", "valid", "validation", "test")
    return sorted(set(part), key=lambda name: (usual.index(name) if name in usual else len(usual), name))


def _alike(hashes: Hashes, learnt: NDArray[np.bool_], held: NDArray[np.bool_], clip: NDArray[np.object_] | None,
           bits: int) -> NDArray[np.bool_]:
    """Which held-out images look like one of training (with ``clip``: like one of another clip), shape (held,)."""
    keys = pd.DataFrame({"hash": hashes, "learnt": learnt, "clip": "" if clip is None else clip})
    rows = np.flatnonzero(learnt | held)
    of = keys.iloc[rows].groupby(["hash", "learnt", "clip"], sort=False)
    code, first = of.ngroup().to_numpy(), of.head(1).index.to_numpy(np.int64)
    unique = keys.iloc[first]
    pairs = pairs_of(unique["hash"].to_numpy(np.uint64), bits, apart=np.arange(len(unique)))
    a, b = pairs["first"].to_numpy(np.int64), pairs["second"].to_numpy(np.int64)
    side = unique["learnt"].to_numpy(bool)
    kept = side[a] != side[b]
    if clip is not None:
        place = unique["clip"].to_numpy(object)
        kept &= place[a] != place[b]
    hit = np.zeros(len(unique), bool)
    hit[a[kept]] = hit[b[kept]] = True
    return np.asarray(hit[code][held[rows]])


def _frames_away(frame: pd.DataFrame, learnt: NDArray[np.bool_], held: NDArray[np.bool_]) -> float:
    """Median number of frames from a held-out image to the nearest of training that is of the same clip and name."""
    # A clip may hold several recordings that count their frames anew: what stands before the number is theirs.
    name = frame["clip"] + "/" + frame["image"].str.replace(r"\d+$", "", regex=True)
    known = frame["frame"].to_numpy(np.int64) >= 0
    away: list[float] = []
    of_learnt = frame[learnt & known].groupby(name[learnt & known])["frame"]
    there = {key: np.sort(values.to_numpy(np.int64)) for key, values in of_learnt}
    for key, number in zip(name[held & known], frame["frame"][held & known], strict=True):
        if key in there:
            away.append(float(np.abs(there[key] - number).min()))
    return float(np.median(away)) if away else np.nan


def _only(images: ImageSet, learnt: NDArray[np.bool_], held: NDArray[np.bool_]) -> tuple[str, ...]:
    names = images.images["image"].to_numpy(object)
    mine = images.boxes["image"]
    has = [set(images.boxes["label"][mine.isin(names[rows])]) for rows in (learnt, held)]
    return tuple(images.classes[k] for k in sorted(has[1] - has[0]))


def audit_published(images: ImageSet, *, bits: int = BITS, hashes: Hashes | None = None) -> list[str]:
    """What the division that was published with a set leaks, in sentences.

    Raises:
        InputError: an image cannot be read.
    """
    part = images.images["published_split"].to_numpy(object)
    train = next((name for name in part if str(name).lower() in TRAIN_NAMES), "train")
    if not (part != "").any():
        return ["No division was published with this set."]
    named = sorted(set(part[part != ""]))
    if train not in named or len(named) < 2:
        return [f"The published division has {', '.join(map(str, named))} alone: there is nothing that it could leak."]
    return shared_between(images, part, train=train, bits=bits, hashes=hashes).sentences("The published division")


def audit_division(images: ImageSet, table: SampleTable, manifest: SplitManifest, *, bits: int = BITS,
                   hashes: Hashes | None = None) -> list[str]:
    """What a division of the set's samples leaks that its own audit does not look at, too, in sentences.

    Args:
        images: the set.
        table: its sample table, that was divided.
        manifest: the division; of several folds, each is looked at.
        bits: of 64, in which images that look alike may differ.
        hashes: of all images, if they are there already.

    Raises:
        InputError: an image cannot be read.
    """
    hashes = hashes_of(images) if hashes is None else hashes
    rows = np.array([images.position(name) for name in table.column("sample_id")], np.int64)
    found: list[Shared] = []
    for fold in range(manifest.folds):
        part = np.full(len(images), "", object)
        for code, name in PARTS.items():
            part[rows[manifest.assignment[:, fold] == code]] = name
        part[rows[manifest.assignment[:, fold] == EXCLUDED]] = ""
        found.append(shared_between(images, part, train="train", hashes=hashes, bits=bits))
    if len(found) == 1:
        return found[0].sentences("The division")
    return _over_folds(found)


def _over_folds(found: Sequence[Shared]) -> list[str]:
    clean = sum(shared.clean for shared in found)
    worst = max(range(len(found)), key=lambda k: (len(found[k].straddling), found[k].same_clip, found[k].alike))
    lines = [f"In {clean} of {len(found)} folds the parts share no clip, no file and nothing that looks alike."]
    if clean < len(found):
        lines += found[worst].sentences(f"The one with the most in common, fold {worst + 1},")
    missing: dict[str, Any] = {}
    for fold, shared in enumerate(found):
        for name in shared.only_held_out:
            missing.setdefault(name, []).append(str(fold + 1))
    lines += [f"Training has no box of {name} in fold {', '.join(folds)}: only clips that are held out have any."
              for name, folds in missing.items()]
    return lines
