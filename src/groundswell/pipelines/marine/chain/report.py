"""marine: the page of a chain: what every stage was worth on the same test clips, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from groundswell.core.files import read_json, write_json, write_text
from groundswell.core.recipe import dump_recipe
from groundswell.evaluate.report import decimal, embed
from groundswell.pipelines.marine.chain.plan import Stage
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.recipe import MarineRecipe

DONE = "stage.json"
_PAGES = ("report.html", "selection.html")
_PICTURES = {"map50": "mAP50", "recall": "recall"}


@dataclass(frozen=True)
class Section:
    """Something to tell after the stages: sentences and pictures, each as (PNG bytes, caption)."""

    title: str
    lines: Sequence[str]
    pictures: Sequence[tuple[bytes, str]] = ()

    @property
    def shown(self) -> list[dict[str, str]]:
        """Pictures as the page embeds them."""
        return [{"source": embed(png, "png"), "alt": caption, "caption": caption} for png, caption in self.pictures]


def write_chain_report(out: Path, recipe: MarineRecipe, stages: Sequence[Stage], *, to: Path | None = None,
                       also: Sequence[Section] = ()) -> Path:
    """Write ``report.html`` and ``chain.json`` of what is done so far; the page's path.

    Args:
        out: folder of the chain.
        recipe: of the chain.
        stages: all of them.
        to: folder for the page, if it is not the chain's; one that the chain's folder is below.
        also: what is to be told after the stages.
    """
    facts = {stage.name: read_json(out / stage.name / DONE) for stage in stages
             if (out / stage.name / DONE).exists()}
    simulated = bool(ImageSet.open(Path(recipe.data.images)).simulated)
    write_json(out / "chain.json", {"simulated": simulated, "stages": [
        {"name": stage.name, "title": stage.title, "done": stage.name in facts, **_scores(facts.get(stage.name, {}))}
        for stage in stages]})
    loader = ChoiceLoader([PackageLoader("groundswell.pipelines.marine"), PackageLoader("groundswell.evaluate")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    folder = Path(to or out).resolve()
    rows = [_row(stage, facts.get(stage.name), out, folder) for stage in stages]
    page = environment.get_template("chain.html.j2").render(
        title="From images to a deployed detector", done=list(facts), stages=list(stages),
        model=f"{recipe.model.engine} {recipe.model.name}", size=recipe.data.size,
        minutes=f"{sum(fact['seconds'] for fact in facts.values()) / 60:.1f}", simulated=simulated,
        allow_leakage=recipe.split.allow_leakage, confidence=recipe.evaluate.confidence,
        count_at=recipe.evaluate.count_at, rows=rows, also=also,
        curve=_curve(facts), recipe_yaml=dump_recipe(recipe))
    path = folder / "report.html"
    write_text(path, page)
    return path


def _scores(fact: dict[str, Any]) -> dict[str, Any]:
    return {"scores": fact["scores"]} if "scores" in fact else {}


def _text(estimate: dict[str, Any] | None) -> str:
    if not estimate or estimate["value"] is None:
        return "—"
    inside = f" [{decimal(estimate['low'])}, {decimal(estimate['high'])}]" if estimate["low"] is not None else ""
    return f"{decimal(estimate['value'])}{inside}"


def _row(stage: Stage, fact: dict[str, Any] | None, out: Path, folder: Path) -> dict[str, Any]:
    if fact is None:
        return {"name": stage.name, "title": stage.title, "map50": "—", "recall": "—", "minutes": "not done",
                "start": "", "lines": [], "pictures": [], "page": ""}
    start = Path(str(fact.get("start", "")))
    scores, place = fact.get("scores", {}), (out / stage.name).resolve()
    return {"name": stage.name, "title": fact["title"], "map50": _text(scores.get("map50")),
            "recall": _text(scores.get("recall")), "minutes": f"{fact['seconds'] / 60:.1f}",
            "start": str(start.relative_to(out) if start.is_relative_to(out) else start) if fact.get("start") else "",
            "lines": fact["lines"], "pictures": [
                {"source": embed((out / stage.name / name).read_bytes(), "png"), "alt": caption, "caption": caption}
                for name, caption in fact.get("pictures", {}).items() if (out / stage.name / name).is_file()],
            "page": next((str((place / name).relative_to(folder)) for name in _PAGES if (place / name).is_file()), "")}


def _curve(facts: dict[str, dict[str, Any]]) -> str:
    scored = {name: fact["scores"] for name, fact in facts.items() if "scores" in fact}
    if not scored:
        return ""
    from matplotlib.figure import Figure

    from groundswell.pipelines.marine.pictures import png_of

    figure = Figure(figsize=(1.6 + 0.95 * max(len(scored), 4), 3.9), layout="constrained")
    axes = figure.subplots()
    for shift, (key, title), colour, marker in zip((-0.08, 0.08), _PICTURES.items(), ("#0b6e99", "#d9730d"), "os",
                                                   strict=True):
        for at, scores in enumerate(scored.values()):
            one = scores.get(key)
            if not one or one["value"] is None:
                continue
            if one["low"] is not None:
                axes.plot([at + shift] * 2, [one["low"], one["high"]], color=colour, linewidth=1.6, alpha=0.6)
        values = [(at + shift, scores[key]["value"]) for at, scores in enumerate(scored.values())
                  if scores.get(key) and scores[key]["value"] is not None]
        axes.plot(*zip(*values, strict=True), marker=marker, color=colour, label=title, linewidth=0.8, markersize=5)
    axes.set_xticks(range(len(scored)), [name.replace("/", "\n") for name in scored], fontsize=7.5)
    axes.set_ylim(0, 1)
    axes.set_ylabel("on the test clips")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return embed(png_of(figure, 130), "png")
