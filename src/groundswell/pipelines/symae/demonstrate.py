"""symae: the demo: simulated earthquakes to sources, virtual seismograms and a report, in minutes on two cores."""

from __future__ import annotations

import shutil
from pathlib import Path

from groundswell.core.files import atomic_path, write_text
from groundswell.core.progress import say
from groundswell.core.recipe import build_recipe, load_recipe, shipped_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.judge import evaluate_run
from groundswell.pipelines.symae.extracting import extract_event
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.pipelines.symae.redatuming import redatum_events
from groundswell.pipelines.symae.simulate.recipe import WorldRecipe
from groundswell.pipelines.symae.simulate.simulating import simulate
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.workflow import start_run, train_run
from groundswell.splits.manifest import TEST, SplitManifest

_EVENTS, _TRACES = 900, (4, 20)


def run_demo(out: Path, seed: int) -> Path:
    """Simulate, train, evaluate, extract and redatum; the path of ``report.html``. A demo that was interrupted goes
    on."""
    store = _store(out / "bags", seed)
    recipe = load_recipe(SymaeRecipe, shipped_recipe("groundswell.pipelines.symae", "demo"), [
        f"data.store={store.path.resolve()}", f"train.seed={seed}", f"split.seed={seed}"])
    place = out / "run"
    run = RunFolder.open(place) if (place / "recipe.yaml").exists() else start_run("symae", recipe, place)
    say("Training on the simulated bags")
    train_run(run)
    judged = evaluate_run(run)
    one, other = _tested_events(run)
    told = [judged.text, f"Extracted from the event {one}, which no training saw:", *extract_event(place, one),
            f"The source of {one} on the paths of {other}:", *redatum_events(place, one, other)]
    report = out / "report.html"
    with atomic_path(report) as temporary:
        shutil.copyfile(judged.report, temporary)
    sources = place / "sources.html"
    if sources.exists():
        with atomic_path(out / "sources.html") as temporary:
            shutil.copyfile(sources, temporary)
    write_text(out / "conclusion.txt", "\n".join(told) + "\n")
    say("\n".join(told))
    return report


def _store(folder: Path, seed: int) -> BagStore:
    if (folder / "store.json").exists():
        return BagStore.open(folder)
    say("Simulating bags of traces")
    return simulate(build_recipe(WorldRecipe, {"seed": seed, "events": _EVENTS, "pixels": [1, 1],
                                               "traces": list(_TRACES)}), folder)


def _tested_events(run: RunFolder) -> tuple[str, str]:
    """Two events of the test part, the ones with the most traces."""
    table = load_archive(run.path).table
    rows = SplitManifest.read(run.path, table).rows(TEST, 0)
    tested = table.take(rows).frame.sort_values(["count", "sample_id"], ascending=[False, True], kind="stable")
    names = list(dict.fromkeys(tested["record"]))
    return names[0], names[1]
