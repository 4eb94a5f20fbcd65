"""geomag: all pictures of a folder of results, in the folders and under the names that the seed gives them.

``Performance_Analysis/Model_Performance_{window}.png``: accuracy and loss by epoch.

``Model_Comparison_Analysis/``: ``Radar_{window}.png``, ``F1_Mean_vs_Std_{window}.png``, ``Norm_MCC_vs_F1_{window}.png``
and ``Precision_vs_Recall_{window}.png``, twelve for three window lengths; ``Legend_Radar.png``, ``Legend_Scatter.png``.

``ROC_analysis/multi_model_roc_curves.png``: a panel for each window length.

``Individual_Confusion_Matrices/``: ``{Model}_{window}_confusion_matrix.png`` (fifteen for five families) and
``horizontal_colorbar.png``.

``Controls/controls_{window}.png``: scores beside controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from groundswell.core.errors import InputError
from groundswell.core.progress import progress
from groundswell.pipelines.geomag.figures import comparison, confusion, controls, roc, training_curves
from groundswell.pipelines.geomag.figures.results import find_results
from groundswell.pipelines.geomag.figures.style import save

MODULES = ("performance", "comparison", "roc", "confusion", "controls")
FOLDER = "performance_visualization"


@dataclass(frozen=True)
class FiguresReport:
    """What :func:`draw_figures` did: files it wrote, and what it could not find or read, in sentences."""

    written: list[Path]
    missing: list[str]


def draw_figures(results: Path, out: Path | None = None, *, dpi: int = 600,
                 modules: Sequence[str] = MODULES) -> FiguresReport:
    """Draw training curves, comparisons, ROC curves, confusion matrices and controls.

    Files that are absent or damaged are named in the report and left out of the pictures; a picture for which nothing
    is left is not drawn.

    Args:
        results: folder with ``gru_models``, ``lstm_models``, … and ``controls_{window}.json``.
        out: folder for the pictures; ``results/performance_visualization`` otherwise.
        dpi: dots per inch.
        modules: which of :data:`MODULES`.

    Raises:
        InputError: there is no such folder or module, or nothing at all to draw.
    """
    unknown = [name for name in modules if name not in MODULES]
    if unknown:
        raise InputError(f"There is no module of pictures called '{unknown[0]}'", where="modules",
                         fix=f"Known modules: {', '.join(MODULES)}")
    if dpi < 1:
        raise InputError(f"Pictures cannot have {dpi} dots per inch", where="dpi", fix="Give a number from 1 upwards")
    folder = Path(results)
    found = find_results(folder)
    plans = {"performance": training_curves.plan, "comparison": comparison.plan, "roc": roc.plan,
             "confusion": confusion.plan, "controls": controls.plan}
    pictures = [picture for name in MODULES if name in modules for picture in plans[name](found)]
    if not pictures:
        raise InputError("There is nothing to draw: " + ("; ".join(found.missing[:6]) or "no results"), where=folder,
                         fix="Name the folder of a study's results, with gru_models and the others in it")
    place, written = Path(out) if out is not None else folder / FOLDER, []
    with progress(len(pictures), "pictures", "pictures") as bar:
        for picture in pictures:
            written.append(save(picture.draw, place / picture.name, dpi))
            bar.advance()
    return FiguresReport(written, found.missing)
