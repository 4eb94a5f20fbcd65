"""geomag: where a study keeps what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import write_text
from groundswell.core.recipe import dump_recipe, load_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.geomag.layout import window_name
from groundswell.pipelines.geomag.recipe import GeomagRecipe

TITLES = {"gru": "GRU", "lstm": "LSTM", "rnn": "RNN", "mlp": "MLP", "transformer": "Transformer",
          "minirocket": "MiniRocket"}
"""How result files call a family."""
_FREE = {("study", "workers"), ("study", "threads"), ("study", "retries"), ("loader", "threads"),
         ("loader", "prefetch_batches"), ("train", "threads")}
"""Keys that may change when a study is gone on with: results depend on them by rounding at most."""


@dataclass(frozen=True)
class StudyFolder:
    """Paths of a study: ``study.yaml``, ``study.json``, ``report.html``, ``runs/`` (one run folder for each family and
    window), ``windows/`` (table, split and controls that the families share), ``results/`` (files under the seed's
    names), ``logs/``."""

    path: Path

    @property
    def results(self) -> Path:
        """The seed's files."""
        return self.path / "results"

    def stem(self, model: str, days: int) -> str:
        """``GRUModel_7day``: how files of a family and a window begin."""
        return f"{TITLES[model]}Model_{window_name(days)}"

    def files(self, model: str) -> Path:
        """Folder of a family's files, ``results/gru_models``."""
        return self.results / f"{model}_models"

    def run(self, model: str, days: int) -> RunFolder:
        """Run folder of a family and a window; that of MiniRocket + ridge holds predictions only."""
        return RunFolder(self.path / "runs" / self.stem(model, days))

    def window(self, days: int) -> Path:
        """What the families share on a window length."""
        return self.path / "windows" / window_name(days)

    def recipe(self) -> GeomagRecipe:
        """The study's recipe."""
        return load_recipe(GeomagRecipe, self.path / "study.yaml")

    def check(self, recipe: GeomagRecipe) -> None:
        """See that the folder is free, or that the study in it is this one. Writes nothing.

        Raises:
            InputError: the folder holds something else, or a study of another recipe.
        """
        if not (self.path / "study.yaml").exists():
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise InputError("The folder for the study is not empty", where=self.path,
                                 fix="Choose another with --out")
            return
        before, now = self.recipe().model_dump(mode="json"), recipe.model_dump(mode="json")
        changed = [f"{part}.{key} was {before[part][key]!r} and is {now[part][key]!r}"
                   for part in now if isinstance(now[part], dict) for key in now[part]
                   if (part, key) not in _FREE and before[part].get(key) != now[part][key]]
        if changed:
            raise InputError(f"The study in this folder has another recipe: {'; '.join(changed)}", where=self.path,
                             fix="Go on with the recipe it was begun with, or choose another folder with --out")

    def begin(self, recipe: GeomagRecipe) -> None:
        """Make the folder of a new study."""
        if not (self.path / "study.yaml").exists():
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.path / "study.yaml", dump_recipe(recipe))

    def fold_facts(self, model: str, days: int, fold: int) -> Path:
        """Written last of all that a fit leaves: where it is, the fit is done."""
        return self.run(model, days).fold_path(fold) / "done.json"


def plain(value: Any) -> Any:
    """``value`` with numpy's numbers made Python's and what is not finite made ``None``, for JSON."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
