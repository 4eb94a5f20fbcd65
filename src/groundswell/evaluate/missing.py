"""evaluate: sentences about every number that is missing, and why, and about what numbers do not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from groundswell.core.metrics import SUMMARIES
from groundswell.evaluate.calibration import Temperature
from groundswell.evaluate.control_scores import ControlScore
from groundswell.evaluate.exposure import Exposure, prevalence_of
from groundswell.evaluate.metrics import EXTRAS, Scores
from groundswell.evaluate.open_set import OpenSet
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.strata import Stratum

_FEW_GROUPS = 10  # fewer are too few for a percentile bootstrap to have the coverage it states


def missing_scores(windows: Scores, units: Scores, temperatures: Mapping[tuple[str, int], Temperature],
                   controls: Sequence[ControlScore], note: Mapping[str, Any], recipe: EvaluateRecipe,
                   validated: bool) -> list[str]:
    """Sentences about every number that is missing here, and why."""
    lines = []
    if note.get("simulated"):
        lines.append("Performance on real records: the data are simulated.")
    for scores in (units,) if windows is units else (units, windows):
        for name in (*SUMMARIES, *(n for n in EXTRAS if n in scores.metrics), "roc_auc", "pr_auc"):
            estimate = scores.metrics[name]
            if estimate.value is None:
                lines.append(f"{name.replace('_', ' ')} of {scores.level}s: {estimate.why}.")
        if scores.unknown:
            lines.append(f"{scores.unknown} {scores.level}(s) whose class is not known were predicted but not scored.")
    if recipe.temperature and not temperatures:
        lines.append("A temperature: there are no validation predictions with known classes."
                     if validated else "A temperature: no validation predictions were given.")
    lines += [f"The control '{c.control.title}'. {c.verdict.sentence}" for c in controls if c.scores is None]
    if not controls:
        lines.append("Controls: none was run, so that nothing shows what the score would be without the signal.")
    return lines


def missing_parts(units: Scores, strata: Mapping[str, Stratum], unseen: OpenSet | None, exposure: Exposure | None,
                  recipe: EvaluateRecipe) -> list[str]:
    """Likewise, where samples are units or the split has strata."""
    lines = [f"'{name}': {stratum.why}." for name, stratum in strata.items() if stratum.why]
    if units.level != "sample":
        return lines
    lines += [f"'{name}', with an interval to rely on: it lies in {stratum.groups} clusters." for name, stratum in
              strata.items() if stratum.scores is not None and stratum.groups < _FEW_GROUPS <= units.groups]
    if 1 < units.groups < _FEW_GROUPS:
        lines.append(f"Intervals to rely on: the samples lie in {units.groups} clusters, and with fewer than "
                     f"{_FEW_GROUPS} intervals come out narrower than they should be.")
    if unseen is not None and unseen.unseen and unseen.auroc.value is None:
        lines.append(f"Whether the largest probability tells unseen classes from known ones: {unseen.auroc.why}.")
    if exposure is None:
        return [*lines, "Chance, and which classes training had none of: the split was not given."]
    weight, tested = prevalence_of(recipe, exposure), np.array(units.confusion).sum(1) > 0
    if weight[~tested].sum() > 0:
        lines.append(f"Recall of {int((weight[~tested] > 0).sum())} classes of which nothing was tested: the "
                     "prevalence-weighted accuracy is over the others, which have "
                     f"{100 * weight[tested].sum():.1f} % of the weight.")
    if not recipe.prevalence:
        lines.append("Accuracy at the natural frequencies of the classes: the prevalence-weighted accuracy takes those "
                     "of the training samples, which are natural only if nothing capped or chose them.")
    return lines
