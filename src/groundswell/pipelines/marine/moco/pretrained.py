"""marine: the backbone of a finished pretraining, for a detector to start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json
from groundswell.core.run import RunFolder
from groundswell.data.table import SampleTable
from groundswell.pipelines.marine.detector import state_hash
from groundswell.train.weights import read_weights

FILE = "pretrained.json"
WEIGHTS = Path("weights") / "backbone.safetensors"
"""Below the folder of a fold: the backbone alone, by the detector's own names."""
LEARNT = "images.parquet"
"""Which images each fold learnt from: columns image, clip, checksum, and fold_0, fold_1, ... (bool)."""
_FORMAT = 1
_AGAIN = "Pretrain again"


@dataclass(frozen=True)
class Pretrained:
    """A finished pretraining.

    Attributes:
        path: its folder.
        engine: of the detector, ``rtdetr`` or ``yolo``.
        name: of the network.
        keys: entries of the state dict that the backbone has.
        hash: of the backbone's weights, of each fold (:func:`~groundswell.pipelines.marine.detector.backbone_hash`).
        note: facts that stand beside every number that comes of it, such as that the images are simulated.
    """

    path: Path
    engine: str
    name: str
    keys: int
    hash: tuple[str, ...]
    note: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Path) -> Pretrained:
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
                             "Make one with: groundswell marine pretrain")
        facts = read_json(path / FILE)
        try:
            if facts["format"] != _FORMAT:
                raise InputError(f"Pretrainings of format {facts['format']} cannot be read here", where=path / FILE)
            return cls(path, str(facts["engine"]), str(facts["name"]), int(facts["keys"]),
                       tuple(map(str, facts["hash"])), dict(facts["note"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"The facts of this pretraining cannot be read: {error!r}", where=path / FILE,
                             fix=_AGAIN) from error

    def write(self) -> None:
        """Write the facts; what makes a pretraining a finished one."""
        write_json(self.path / FILE, {"format": _FORMAT, "engine": self.engine, "name": self.name, "keys": self.keys,
                                      "hash": list(self.hash), "note": self.note})

    @property
    def folds(self) -> int:
        """How many backbones there are, one for each fold of the split."""
        return len(self.hash)

    def state(self, fold: int = 0) -> dict[str, Tensor]:
        """The backbone's weights by the detector's own names.

        Raises:
            InputError: there is no such fold, or the weights are missing, damaged or not those that were learnt.
        """
        if not 0 <= fold < self.folds:
            raise InputError(f"The pretraining has no fold {fold + 1}", where=self.path, fix=f"It has {self.folds}")
        path = RunFolder(self.path).fold_path(fold) / WEIGHTS
        tensors, _ = read_weights(path)
        if len(tensors) != self.keys or state_hash(tensors.items()) != self.hash[fold]:
            raise InputError("These are not the weights that the pretraining ended with", where=path, fix=_AGAIN)
        return tensors

    def fold_for(self, table: SampleTable, rows: NDArray[np.int64]) -> int:
        """The fold that learnt from no image, and of no clip, that a detector will be judged by.

        Args:
            table: of the detector.
            rows: that the detector learns from; all others are to be unknown to the backbone.

        Raises:
            InputError: there is none: the backbone could know what the detector is tested on.
        """
        try:
            learnt = pd.read_parquet(self.path / LEARNT)
            chosen = [learnt[learnt[f"fold_{fold}"]] for fold in range(self.folds)]
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"What this pretraining learnt from cannot be read: {error}", where=self.path / LEARNT,
                             fix=_AGAIN) from error
        for fold, mine in enumerate(chosen):
            if not held_out(mine["clip"], mine["checksum"], table, rows).any():
                return fold
        raise InputError("The pretraining learnt from images of clips that this detector is judged by", where=self.path,
                         fix="Pretrain and train with the same images and the same split.* keys")


def backbone_state(path: str | Path, fold: int = 0) -> Mapping[str, Tensor]:
    """Weights of the backbone of the pretraining in a folder; see :meth:`Pretrained.state`.

    Raises:
        InputError: there is no finished pretraining, or its weights are damaged.
    """
    return Pretrained.open(path).state(fold)


def held_out(clip: pd.Series[Any], checksum: pd.Series[Any], table: SampleTable,
             rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images a backbone must not learn from, bool: those that a detector is judged by, and all others of their
    clips unless the detector learns from them itself.

    Args:
        clip, checksum: of the images, each (n,).
        table: of the detector.
        rows: that it learns from.
    """
    learns = np.zeros(len(table), bool)
    learns[rows] = True
    content, group = table.column("content"), table.column("group")
    itself, known = checksum.isin(content[~learns]), checksum.isin(content[learns])
    found: NDArray[np.bool_] = (itself | (clip.isin(group[~learns]) & ~known)).to_numpy(bool)
    return found
