"""marine: an ensemble as files: every member through the parity gate, at half precision where that costs nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError, RefusedError
from groundswell.core.files import atomic_folder, read_json, write_json
from groundswell.core.progress import progress
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.deploy.export import ExportResult
from groundswell.evaluate.detection_bootstrap import paired_difference
from groundswell.evaluate.detection_scores import average_precision
from groundswell.evaluate.intervals import Estimate
from groundswell.pipelines.archive import Archive, load_archive
from groundswell.pipelines.marine.calibration import Calibrator
from groundswell.pipelines.marine.data import WORKFLOW, classes_of, images_of, source_of
from groundswell.pipelines.marine.deploying.bundle import REPORT
from groundswell.pipelines.marine.deploying.precision import HALF, SINGLE, write_half
from groundswell.pipelines.marine.detecting import ENSEMBLE, Found, open_detector, write_ensemble
from groundswell.pipelines.marine.predicting import answer_of_file, answered_rows
from groundswell.pipelines.marine.recipe import FuseRecipe, MarineRecipe, TtaRecipe
from groundswell.pipelines.marine.ship import export_onnx_of
from groundswell.pipelines.marine.truth import truth_of
from groundswell.pipelines.marine.tta import View, views
from groundswell.pipelines.workflow import usable_rows
from groundswell.splits.manifest import TEST, SplitManifest

_BATCH = 8


@dataclass(frozen=True)
class Exported:
    """A member as a file.

    Attributes:
        name: of the file, without its suffix.
        precision: that it was kept in.
        difference: largest one of the parity gate, at 32 bits.
        samples: real images that the gate compared.
        network, file: mAP50 of the network and of the file on the run's test images; None where they show no animal.
        tried: mAP50 at the precisions that were tried.
    """

    name: str
    precision: str
    difference: float
    samples: int
    network: float | None
    file: float | None
    tried: dict[str, float | None]

    def sentence(self) -> str:
        """What came of it."""
        scores = "its test images show no animal, so that mAP50 is not compared"
        if self.network is not None and self.file is not None:
            scores = f"mAP50 of the file is {self.file:.3f}, of the network {self.network:.3f}, on the same test images"
        lost = self.tried.get(HALF)
        also = f" At {HALF} it was {lost:.3f}: too great a fall, so {SINGLE} was taken." if (
            self.precision == SINGLE and lost is not None) else ""
        return (f"{self.name}.onnx ({self.precision}): largest difference to the network at 32 bits "
                f"{self.difference:.1e} on {self.samples} images; {scores}.{also}")


@dataclass(frozen=True)
class _Judged:
    """What a run's files are judged on."""

    archive: Archive
    rows: NDArray[np.int64]
    truth: BoxTruth

    @classmethod
    def of(cls, run: RunFolder) -> _Judged:
        archive = load_archive(run.path)
        images = images_of(archive)
        rows = usable_rows(WORKFLOW, archive.table, SplitManifest.read(run.path, archive.table), TEST, 0)
        return cls(archive, rows, truth_of(images, classes_of(run.recipe(MarineRecipe), images), archive.table))

    def score(self, predictions: BoxPredictions) -> float | None:
        """mAP50 over the classes that are there."""
        found = average_precision(predictions, self.truth)[:, 0]
        return float(np.nanmean(found)) if np.isfinite(found).any() else None


def export_members(members: Sequence[tuple[str, RunFolder, float]], recipe: MarineRecipe, ensemble: Path | None,
                   out: Path) -> dict[str, Any]:
    """Write the members of an ensemble as files, and the ensemble of these files.

    A member is written at 32 bits through the parity gate and, if asked for, turned to 16. Either file is then held
    against the network on the run's own test images; one that loses more than ``export.most_loss`` of mAP50 at 16 bits
    is kept at 32. At last the whole ensemble looks at the test images through its files.

    Args:
        members: name, run and weight of each; names may be alike, files will not.
        recipe: its keys ``export``, and ``fuse``, ``evaluate`` where there is no ensemble yet.
        ensemble: the ``ensemble.json`` whose fusion, views, calibration and thresholds are kept; None: of fusion alone.
        out: folder; an earlier export in it is replaced.

    Returns:
        JSON-able: ``scores`` (mAP50 and recall of what is deployed, as estimates), ``map50``, ``map50_network``,
        ``members``, ``views_left_out``, ``lines``.

    Raises:
        InputError: no member, or something else is in ``out``.
        RefusedError: a file disagrees with its network, or loses too much even at 32 bits; nothing is written.
    """
    if not members:
        raise InputError("There is no member to export", fix="Name one run or more")
    with atomic_folder(Path(out), replaces=ENSEMBLE) as folder:
        names = file_names([name for name, _, _ in members])
        exported = [_export(name, run, recipe, folder) for name, (_, run, _) in zip(names, members, strict=True)]
        left_out = _write(folder, [(f"{name}.onnx", weight) for name, (_, _, weight) in zip(names, members,
                                                                                           strict=True)],
                          members[0][1], recipe, ensemble)
        facts = _judge(folder, members[0][1], ensemble)
        best = max(exported, key=lambda one: one.network or 0.0)
        lines = [*(one.sentence() for one in exported), *left_out, *facts.pop("lines")]
        facts |= {"members": [asdict(one) for one in exported], "views_left_out": left_out, "map50": best.file,
                  "map50_network": best.network, "workspace_gb": recipe.export.workspace_gb, "lines": lines}
        write_json(folder / REPORT, facts)
    return facts


def file_names(names: Sequence[str]) -> list[str]:
    """Names of files that are safe and told apart also where the capitals of letters do not count."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "member"
        number, one = 1, plain
        while one.lower() in (other.lower() for other in found):
            number += 1
            one = f"{plain}-{number}"
        found.append(one)
    return found


def _export(name: str, run: RunFolder, recipe: MarineRecipe, folder: Path) -> Exported:
    """One member as the file that is kept."""
    judged = _Judged.of(run)
    saved = BoxPredictions.read(run.path / "predictions.parquet")
    network = judged.score(saved.take(saved.fold == 0))
    path = folder / f"{name}.onnx"
    gate: ExportResult = export_onnx_of(run, path, [0])
    tried: dict[str, float | None] = {}
    wanted = [HALF, SINGLE] if recipe.export.precision == HALF else [SINGLE]
    for precision in wanted:
        made = path
        if precision == HALF:
            made = folder / f"{name}.half.onnx"
            write_half(path, made)
        score = tried[precision] = judged.score(_through(made, run, judged))
        if network is None or score is None or network - score <= recipe.export.most_loss:
            made.replace(path)
            return Exported(name, precision, gate.parity.difference, gate.parity.samples, network, score, tried)
        if made != path:
            made.unlink()
    told = ", ".join(f"{value:.3f} at {precision}" for precision, value in tried.items())
    raise RefusedError(f"The exported file of {name} loses too much: mAP50 falls from {network:.3f} to {told}, more "
                       f"than {recipe.export.most_loss:g}", where=run.path, fix="Nothing was written")


def _through(path: Path, run: RunFolder, judged: _Judged) -> BoxPredictions:
    """What a file finds in the run's test images."""
    recipe = run.recipe(MarineRecipe)
    answer, facts = answer_of_file(path)
    return answered_rows(recipe, judged.archive.table, source_of(recipe, judged.archive), answer, judged.rows,
                         suppress=bool(facts["suppress"]), fold=0)


def _write(folder: Path, members: list[tuple[str, float]], run: RunFolder, recipe: MarineRecipe,
           ensemble: Path | None) -> list[str]:
    """Write ``ensemble.json``; what had to be left out, in sentences."""
    size = run.recipe(MarineRecipe).data.size
    if ensemble is None:
        told = classes_of(run.recipe(MarineRecipe), images_of(load_archive(run.path)))
        write_ensemble(folder / ENSEMBLE, members=members, fuse=recipe.fuse, tta=None, calibrator=None,
                       thresholds=[recipe.evaluate.count_at] * len(told.names))
        return []
    facts = read_json(ensemble)
    tta = build_recipe(TtaRecipe, facts["tta"], [], where=str(ensemble)) if facts["tta"] else None
    kept, lines = of_one_size(tta, size, calibrated=bool(facts["calibrator"])) if tta else (None, [])
    write_ensemble(folder / ENSEMBLE, members=members, tta=kept, thresholds=facts["thresholds"],
                   fuse=build_recipe(FuseRecipe, facts["fuse"], [], where=str(ensemble)),
                   calibrator=Calibrator.from_dict(facts["calibrator"]) if facts["calibrator"] else None)
    return lines


def of_one_size(tta: TtaRecipe, size: int, *, calibrated: bool = False) -> tuple[TtaRecipe | None, list[str]]:
    """The views of which all have the size of the input, for a file takes no other; None where one alone is left.

    Also gives sentences about what was left out.
    """
    fits = tuple(scale for scale in tta.scales if View(scale=scale).size(size) == size)
    if fits == tta.scales:
        return tta, []
    kept = tta.model_copy(update={"scales": fits or (1.0,)})
    gone = ", ".join(f"{scale:g}" for scale in tta.scales if scale not in fits)
    lines = [f"Views at scale {gone} are left out: a file takes images of {size} pixels and of no other size; "
             f"{len(views(kept))} of {len(views(tta))} views remain."]
    if calibrated:
        lines.append("The calibration and the thresholds were fitted with all views; with fewer they may be off.")
    return kept if len(views(kept)) > 1 else None, lines


def _judge(folder: Path, run: RunFolder, ensemble: Path | None) -> dict[str, Any]:
    """What the whole ensemble, as it is deployed, finds in the test images."""
    recipe, judged = run.recipe(MarineRecipe), _Judged.of(run)
    images = images_of(judged.archive)
    detector = open_detector(folder)
    # A deployed detector corrects what a camera gives; these images may be corrected already.
    detector = replace(detector, prepare=recipe.data.prepare and not images.preparation)
    names = [str(name) for name in judged.archive.table.column("sample_id").to_numpy(object)[judged.rows]]
    found: list[Found] = []
    with progress(len(names), "look through the files", "images") as bar:
        for start in range(0, len(names), _BATCH):
            chosen = names[start:start + _BATCH]
            found += detector([images.read(name) for name in chosen])
            bar.advance(len(chosen))
    test = detector.predictions(names, found, member="export")
    manifest = SplitManifest.read(run.path, judged.archive.table)
    scores = WORKFLOW.evaluate(recipe, judged.archive, manifest, test, None, []).to_dict()["scores"]
    return {"scores": {key: scores[key] for key in ("map50", "recall")},
            **_against(test, ensemble, judged, recipe)}


def _against(test: BoxPredictions, ensemble: Path | None, judged: _Judged, recipe: MarineRecipe) -> dict[str, Any]:
    """The deployed ensemble beside what the networks' own ensemble was found to be worth."""
    before = ensemble.parent / "predictions.parquet" if ensemble else None
    if before is None or not before.is_file():
        return {"lines": []}
    difference: Estimate = paired_difference(test, BoxPredictions.read(before), judged.truth, recipe.evaluate,
                                             seed=recipe.split.seed)
    if difference.value is None:
        return {"difference": difference.to_dict(), "lines": []}
    interval = "" if difference.low is None or difference.high is None else (
        f" (interval {difference.low:+.3f} to {difference.high:+.3f})")
    return {"difference": difference.to_dict(), "lines": [
        f"mAP50 of the ensemble of files is {difference.value:+.3f} beside that of its networks{interval}, over the "
        "same test clips."]}
