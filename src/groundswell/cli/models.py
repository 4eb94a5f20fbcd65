"""cli: finding runs and exported models, and which pipeline they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.core.registry import Pipeline, get_pipeline, series_in
from groundswell.core.run import RunFolder, find_runs

if TYPE_CHECKING:
    from rich.table import Table


def pipeline_of_model(model: Path) -> Pipeline:
    """The pipeline that a run folder, an exported file or a saved ensemble belongs to.

    Raises:
        InputError: it is none of them.
    """
    if model.is_dir():
        if (model / "ensemble.json").is_file():
            return pipeline_of_model(model / "ensemble.json")
        if (series := series_in(model)) is not None:
            return series[0]
        return get_pipeline(RunFolder.open(model).pipeline)
    if model.suffix == ".onnx" and model.is_file():
        from groundswell.deploy.artifact import Artifact

        name = Artifact.open(model).metadata.get("pipeline")
        if not isinstance(name, str):
            raise InputError("The exported file does not say which pipeline made it", where=model)
        return get_pipeline(name)
    if model.suffix == ".json" and model.is_file():
        facts = read_json(model)
        if isinstance(facts, dict) and isinstance(facts.get("pipeline"), str):
            return get_pipeline(facts["pipeline"])
        raise InputError("This file does not say which pipeline it belongs to", where=model)
    raise InputError("This is neither the folder of a run, nor an exported .onnx file, nor a saved ensemble's "
                     "configuration (.json)", where=model)


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """One dictionary for each run: path, pipeline, state, score with interval, best null control or rival,
    notes."""
    if not folder.is_dir():
        raise InputError("There is no such folder", where=folder)
    rows = []
    for run in find_runs(folder):
        row: dict[str, Any] = {"run": str(run.path), "pipeline": run.pipeline, "state": run.status["state"]}
        metrics = run.path / "metrics.json"
        if metrics.exists():
            row["headline"] = _headline(read_json(metrics))
        rows.append(row)
    return rows


def _headline(metrics: dict[str, Any]) -> dict[str, Any]:
    """The score with its interval, the best null control or rival, and what must stand beside the number."""
    if "units" in metrics:
        name, score, beside = "accuracy", metrics["units"]["metrics"]["accuracy"], metrics["controls"]
        found = [(c["kind"], c["name"], c["metrics"][name]["value"]) for c in beside
                 if c["kind"] == "null" and "metrics" in c]
    else:
        name, beside = metrics["headline"], metrics["beside"]
        score = metrics["scores"][name]
        found = [(c["kind"], c["name"], c["scores"][name]["value"]) for c in beside
                 if c["kind"] in ("rival", "null") and name in c["scores"]]
    found = [row for row in found if row[2] is not None]
    note = metrics["note"]
    remarks = [*(["simulated data"] if note.get("simulated") else []),
               *(mark.partition(". ")[0] for mark in note.get("marks", [])),
               *([f"leaking split allowed: {note['allow_leakage']}"] if note.get("allow_leakage") else []),
               *([] if beside else ["no controls"])]
    ends = None if score["low"] is None else [score["low"], score["high"]]
    head: dict[str, Any] = {"metric": f"{metrics['unit']} {name}", "value": score["value"], "interval": ends,
                            "note": "; ".join(remarks)}
    if found:
        kind, control, value = max(found, key=lambda row: row[2])
        head["best_null_control" if kind == "null" else "best_rival"] = {"name": control, "value": value}
    return head


def runs_table(rows: list[dict[str, Any]]) -> Table:
    """The list as a table for the terminal."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("run", "pipeline", "state", "score", "interval", "best null control or rival", "note"):
        table.add_column(title, overflow="fold")
    for row in rows:
        head = row.get("headline", {})
        score, interval, control = head.get("value"), head.get("interval"), head.get(
            "best_null_control", head.get("best_rival"))
        table.add_row(row["run"], row["pipeline"], row["state"],
                      f"{head['metric']} {score:.3f}" if score is not None else "not evaluated",
                      f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
                      f"{control['name']} {control['value']:.3f}" if control else "", head.get("note", ""))
    return table
