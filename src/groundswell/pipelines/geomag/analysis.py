"""geomag: how the classes of a folder of windows are balanced, what to do about it, and which shortcuts there are."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.core.progress import progress
from groundswell.pipelines.geomag.analysis_sidecar import SidecarAnalysis, analyze_sidecar
from groundswell.pipelines.geomag.analysis_values import Validation, row_facts, validate
from groundswell.pipelines.geomag.imbalance import ImbalanceAnalysis, analyze_imbalance
from groundswell.pipelines.geomag.layout import (
    MINUTES_A_DAY,
    WINDOW_DAYS,
    ClassFile,
    Layout,
    check_days,
    read_sidecar,
    window_folder,
)

UNGROUPED = ("There is no table samples.csv beside these windows: copies of one event at several stations cannot be "
             "kept together, and scores will be marked 'ungrouped: may be inflated'.")
"""What is said of windows without a sidecar."""


@dataclass(frozen=True)
class WindowAnalysis:
    """What was found of one window length.

    Attributes:
        days: length of a window.
        total_samples: windows of both classes.
        class_counts: windows of class 0 and of class 1.
        class_proportions: the same as shares.
        n_features: values of a window, the label not counted.
        validation: of every value.
        imbalance_analysis: of the counts.
        sidecar: of the table beside the windows, or ``None``.
        simulated: what ``origin.json`` says, or ``None``.
    """

    days: int
    total_samples: int
    class_counts: list[int]
    class_proportions: list[float]
    n_features: int
    validation: Validation
    imbalance_analysis: ImbalanceAnalysis
    sidecar: SidecarAnalysis | None
    simulated: bool | None

    @property
    def window(self) -> str:
        """``7`` for windows of seven days: its key in results."""
        return str(self.days)


@dataclass(frozen=True)
class Analysis:
    """What was found of a folder.

    Attributes:
        folder: that holds ``window-7`` and so on.
        windows: by length in days as text; ``None`` where there are none of that length.
    """

    folder: Path
    windows: dict[str, WindowAnalysis | None]

    @property
    def found(self) -> list[WindowAnalysis]:
        """Those that are there."""
        return [window for window in self.windows.values() if window is not None]

    @property
    def most_imbalanced(self) -> WindowAnalysis:
        """The one whose classes are the most unequal."""
        return max(self.found, key=lambda window: window.imbalance_analysis.imbalance_ratio)

    @property
    def assessment(self) -> str:
        """The severity of the most unequal one, such as ``Mild imbalance``."""
        severity = self.most_imbalanced.imbalance_analysis.severity
        return "Balanced" if severity == "balanced" else f"{severity.capitalize()} imbalance"

    def text(self) -> str:
        """For a terminal."""
        from groundswell.pipelines.geomag.analysis_text import text_of

        return text_of(self)

    def to_json(self) -> dict[str, Any]:
        """JSON-able; numbers that are infinite become null."""
        worst = self.most_imbalanced
        value: dict[str, Any] = _finite({
            "folder": str(self.folder),
            "windows": {days: asdict(w) if w is not None else None for days, w in self.windows.items()},
            "summary": {"windows_analyzed": len(self.found), "most_imbalanced": worst.window,
                        "imbalance_ratio": worst.imbalance_analysis.imbalance_ratio, "assessment": self.assessment}})
        return value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def analyze_window(folder: Path, days: int) -> WindowAnalysis | None:
    """Read every window of one length, in blocks; ``None`` if the folder has none of that length.

    Raises:
        InputError: an unknown length, a file that is missing or no array of that width, a class without windows, or a
            sidecar that does not go with the files. Values that are not finite and wrong labels are findings instead.
    """
    place = window_folder(folder, check_days(days))
    if not place.is_dir():
        return None
    files = []
    for label in (0, 1):
        path = place / f"data_{label}.npy"
        if not path.exists() and (place / f"data_{1 - label}.npy").exists():
            raise InputError(f"There is only one class: the file of class {label} is missing", where=path,
                             fix="Put each class into a file of its own, data_0.npy and data_1.npy")
        files.append(ClassFile.of(path, label, days * MINUTES_A_DAY + 1))
        if not files[-1].rows:
            raise InputError(f"There is only one class: the file of class {label} has no windows", where=path,
                             fix="Add windows of that class")
    counts = [file.rows for file in files]
    origin = read_json(place / "origin.json") if (place / "origin.json").exists() else {}
    layout = Layout(place, days, tuple(files), (), read_sidecar(place, counts), origin)
    facts = [row_facts(file) for file in files]
    sidecar = None
    if layout.sidecar is not None:
        finite = np.concatenate([fact.finite for fact in facts])
        mean, low, high = (np.where(finite, np.concatenate([getattr(fact, name) for fact in facts]), np.nan)
                           for name in ("mean", "lowest", "highest"))
        sidecar = analyze_sidecar(layout, mean, high - low)
    return WindowAnalysis(days, sum(counts), counts, [n / sum(counts) for n in counts], days * MINUTES_A_DAY,
                          validate(files, facts), analyze_imbalance(counts), sidecar, origin.get("simulated"))


def analyze(folder: str | Path, windows: Sequence[int | str] | None = None) -> Analysis:
    """Analyse the windows of a folder.

    Args:
        folder: that holds ``window-7``, ``window-14``, ``window-30`` or some of them.
        windows: lengths in days; absent, all that are there.

    Raises:
        InputError: there is no such folder, it has windows of none of these lengths, or see :func:`analyze_window`.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError("There is no such folder", where=root, fix="Give the one that holds window-7 and so on")
    wanted = [check_days(_number(days)) for days in (windows or WINDOW_DAYS)]
    found: dict[str, WindowAnalysis | None] = {}
    with progress(len(wanted), "analyze", "window lengths") as bar:
        for days in wanted:
            bar.note(f"{days} days")
            found[str(days)] = analyze_window(root, days)
            bar.advance()
    analysis = Analysis(root, found)
    if not analysis.found:
        raise InputError(f"There are no windows of {', '.join(found)} days in this folder", where=root,
                         fix="It must hold window-7/data_0.npy and window-7/data_1.npy, or the same for 14 or 30")
    return analysis


def _number(days: int | str) -> int:
    try:
        return int(days)
    except ValueError as error:
        raise InputError(f"'{days}' is not a number of days", fix="Choose 7, 14 or 30") from error


def plot(analysis: Analysis, path: str | Path) -> Path:
    """Draw counts, balance and some windows to a PNG; its path. See
    :func:`~groundswell.pipelines.geomag.analysis_plot.figure_of`."""
    from groundswell.core.files import write_bytes
    from groundswell.evaluate.figures import png_of
    from groundswell.pipelines.geomag.analysis_plot import figure_of

    write_bytes(Path(path), png_of(figure_of(analysis)))
    return Path(path)


class DatasetAnalyzer:
    """The analysis of a folder, for a notebook.

    Args:
        base_path: folder that holds ``window-7`` and so on.

    Attributes:
        results: what has been analysed so far, by length in days as text.
    """

    def __init__(self, base_path: str | Path = "data") -> None:
        self.base_path = Path(base_path)
        self.results: dict[str, WindowAnalysis | None] = {}

    def analyze_window(self, days: int | str) -> WindowAnalysis | None:
        """Analyse one window length; ``None`` if there are no such windows. See :func:`analyze_window`."""
        self.results[str(days)] = analyze_window(self.base_path, _number(days))
        return self.results[str(days)]

    def analyze_all_windows(self) -> dict[str, WindowAnalysis | None]:
        """Analyse 7, 14 and 30 days and write the findings to stdout; see :func:`analyze`."""
        self.results = quick_analyze(self.base_path)
        return self.results


def quick_analyze(base_path: str | Path | None = None,
                  window_periods: Sequence[str | int] = ("7", "14", "30")) -> dict[str, WindowAnalysis | None]:
    """Analyse a folder (``./data`` by default) and write the findings to stdout; see :func:`analyze`.

    Returns:
        by length in days as text (``"7"``); ``None`` where there are no such windows.
    """
    analysis = analyze("data" if base_path is None else base_path, window_periods)
    sys.stdout.write(analysis.text())
    return analysis.windows
