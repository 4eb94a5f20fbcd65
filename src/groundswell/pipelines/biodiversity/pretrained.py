"""biodiversity: encoders of a finished pretraining, for a classifier to start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json
from groundswell.core.run import RunFolder
from groundswell.data.table import SampleTable
from groundswell.pipelines.biodiversity.models.modalities import Encoder
from groundswell.splits.manifest import TRAIN, SplitManifest
from groundswell.train.weights import BEST, read_weights

FILE = "pretrained.json"
_FORMAT = 1


@dataclass(frozen=True)
class Pretrained:
    """A finished pretraining.

    Attributes:
        path: its folder.
        widths: numbers of the vector of each of its modalities, by name.
        fusion_dim: width of its encoders.
        place_size: size of its place encoder.
        folds: of its split; each has weights of its own.
        note: facts that stand beside every number that comes of it, such as that the data is simulated.
    """

    path: Path
    widths: dict[str, int]
    fusion_dim: int
    place_size: Literal["tiny", "small", "base"]
    folds: int
    note: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Pretrained:
        """The pretraining in a folder.

        Raises:
            InputError: there is none, or it is not finished.
        """
        path = Path(path)
        if not (path / FILE).is_file():
            begun = (path / "pretrain.yaml").is_file()
            raise InputError("The pretraining in this folder is not finished" if begun else
                             "This is not the folder of a pretraining", where=path,
                             fix="Go on with it by the command it was begun with" if begun else
                             "Make one with: groundswell biodiversity pretrain")
        facts = read_json(path / FILE)
        try:
            if facts["format"] != _FORMAT:
                raise InputError(f"Pretrainings of format {facts['format']} cannot be read here", where=path / FILE)
            return cls(path, {str(k): int(v) for k, v in facts["widths"].items()}, int(facts["fusion_dim"]),
                       facts["place_size"], int(facts["folds"]), dict(facts["note"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"The facts of this pretraining cannot be read: {error!r}", where=path / FILE,
                             fix="Pretrain again") from error

    def write(self) -> None:
        """Write the facts; what makes a pretraining a finished one."""
        write_json(self.path / FILE, {"format": _FORMAT, "widths": self.widths, "fusion_dim": self.fusion_dim,
                                      "place_size": self.place_size, "folds": self.folds, "note": self.note})

    def fold_for(self, table: SampleTable, rows: NDArray[np.int64]) -> int:
        """The fold that learnt from no other observations of ``table`` than ``rows``.

        Observations that nobody named, which a classifier cannot learn from, may have been among them.

        Args:
            table: of the classifier.
            rows: that the classifier learns from.

        Raises:
            InputError: there is none: the weights could know what the classifier is tested on.
        """
        own = SampleTable.read(self.path / "samples.parquet")
        manifest = SplitManifest.read(self.path, own)
        names = table.column("sample_id").to_numpy(dtype=object)
        labelled, wanted = set(names[table.labels() >= 0].tolist()), set(names[rows].tolist())
        known = own.column("sample_id").to_numpy(dtype=object)
        for fold in range(manifest.folds):
            if set(known[manifest.rows(TRAIN, fold)].tolist()) & labelled == wanted:
                return fold
        raise InputError("The pretraining learnt from other observations than the classifier is to learn from, so that "
                         "it could know some that the classifier is tested on", where=self.path,
                         fix="Pretrain and train with the same observations and the same split.* keys")

    def encoders(self, fold: int) -> dict[str, dict[str, Tensor]]:
        """Tensors of the best epoch's encoders by modality, then by name inside the encoder.

        Raises:
            InputError: there is no such fold, or the file is missing or damaged.
        """
        if not 0 <= fold < self.folds:
            raise InputError(f"The pretraining has no fold {fold + 1}", where=self.path, fix=f"It has {self.folds}")
        tensors, _ = read_weights(RunFolder(self.path).fold_path(fold) / BEST)
        found: dict[str, dict[str, Tensor]] = {}
        for name in self.widths:
            start = f"network.{name}_encoder."
            found[name] = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        return found


@dataclass(frozen=True)
class Initialised:
    """What :func:`init_from` copied.

    Attributes:
        tensors: how many.
        modalities: whose encoders.
        fresh: whose encoders the pretraining has not, and which stay as they were.
        fold: of the pretraining, from 0.
    """

    tensors: int
    modalities: tuple[str, ...]
    fresh: tuple[str, ...]
    fold: int


def init_from(network: nn.Module, path: Path, *, table: SampleTable | None = None,
              rows: NDArray[np.int64] | None = None, fold: int = 0) -> Initialised:
    """Copy encoders of a pretraining into the classifier's encoders of the same modalities.

    Every tensor of an encoder is copied or none of it: names and shapes must be the same. Nothing is changed unless all
    encoders that both have fit.

    Args:
        network: a classifier built with ``encoder_dim``, or a task that holds one.
        path: folder of the pretraining.
        table, rows: what the classifier learns from; with them the fold is found, and it is seen to that the
            pretraining learnt from the same observations alone (:meth:`Pretrained.fold_for`).
        fold: of the pretraining, from 0, where they are not given.

    Raises:
        InputError: there is no such pretraining, it saw other observations, no encoder is shared, or one differs.
    """
    run = Pretrained.open(path)
    if table is not None and rows is not None:
        fold = run.fold_for(table, rows)
    learnt = run.encoders(fold)
    own = {name.rpartition(".")[2].removesuffix("_encoder"): module for name, module in network.named_modules()
           if isinstance(module, Encoder)}
    shared = [name for name in own if learnt.get(name)]
    if not shared:
        have = f"has encoders of {', '.join(own)}" if own else "has no encoders"
        raise InputError(f"Nothing of this pretraining of {', '.join(run.widths)} fits the classifier, which {have}",
                         where=path, fix="Choose modalities that were pretrained, and build the classifier with "
                                         f"encoders of width {run.fusion_dim}")
    for name in shared:
        _check_same(name, own[name].state_dict(), learnt[name], path)
    copied = 0
    with torch.no_grad():
        for name in shared:
            state = own[name].state_dict(keep_vars=True)
            for key, value in learnt[name].items():
                state[key].copy_(value)
                copied += 1
    return Initialised(copied, tuple(shared), tuple(name for name in own if name not in shared), fold)


def _check_same(name: str, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    wrong = [f"{key} is missing" for key in wanted if key not in found]
    wrong += [f"{key} is not known" for key in found if key not in wanted]
    wrong += [f"{key} is {tuple(found[key].shape)} there and {tuple(value.shape)} here"
              for key, value in wanted.items() if key in found and found[key].shape != value.shape]
    if wrong:
        raise InputError(f"The pretrained encoder of {name} is another one: {'; '.join(wrong[:3])}", where=path,
                         fix="Build the classifier with encoders of the same size, for embeddings of the same width")
