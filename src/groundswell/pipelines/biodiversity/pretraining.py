"""biodiversity: pretraining as one call: fit the masked autoencoder on every fold, then judge it once on what was kept
back. The same call begins and resumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, read_json, write_json, write_text
from groundswell.core.progress import say
from groundswell.core.provenance import provenance
from groundswell.core.recipe import dump_recipe, load_recipe
from groundswell.core.run import RunFolder
from groundswell.core.seeds import derive_seed
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.evaluate.report import decimal
from groundswell.pipelines.archive import Archive, load_archive, save_archive
from groundswell.pipelines.biodiversity.models.modalities import get_modalities
from groundswell.pipelines.biodiversity.pretrain_task import PretrainTask
from groundswell.pipelines.biodiversity.pretrained import Pretrained
from groundswell.pipelines.biodiversity.reconstruction import ALL, RIVALS, Loading, measure, summarise
from groundswell.pipelines.workflow import Workflow, notes_of, workflow_of
from groundswell.splits.audit import require_clean
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION, SplitManifest
from groundswell.train.fit import fit, load_best
from groundswell.train.launch import check_devices
from groundswell.train.recipe import TrainRecipe
from groundswell.train.setup import Setup

if TYPE_CHECKING:
    from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe

RESULT = "reconstruction.json"
RECIPE = "pretrain.yaml"
SIMULATED = "The embeddings are simulated: the numbers show that the method works, and nothing of real observations."
LOOK_UP = ("A language vector is one for each species, so that predicting it from other modalities is telling species "
           "apart, and what it says of them is what the species' name says.")
_FREE = {("loader", "threads"), ("loader", "prefetch_batches"), ("train", "threads")}
"""Keys that may change when a pretraining is gone on with."""


def pretrain(recipe: BiodiversityRecipe, out: Path, *, workflow: Workflow | None = None,
             quiet: bool = False) -> list[str]:
    """Pretrain a masked autoencoder on each fold of the recipe's split; labels are not looked at.

    The best epoch is chosen by the validation part. When all folds are fitted, the tested observations are looked at
    once. ``out`` holds ``pretrain.yaml``, the sample table, the split, a folder for each fit, ``reconstruction.json``,
    ``reconstruction.parquet`` (every observation's errors), ``reconstruction.html``, and ``pretrained.json``, by which
    classifiers know it (``model.init_from``).

    Args:
        recipe: ``pretrain`` says what is learnt, ``train`` how long and how fast; keys of it that are about classes are
            not looked at.
        out: folder; absent, empty, or begun with the same recipe.
        workflow: the pipeline's own if not given; it can be pickled.
        quiet: no progress on stderr.

    Returns:
        what was found, in sentences.

    Raises:
        InputError: the data, the recipe or the folder cannot be used.
        RefusedError: the split leaks and the recipe does not allow it.
    """
    workflow = workflow or workflow_of(recipe.pipeline)
    run = RunFolder(Path(out).resolve())
    if not (run.path / RECIPE).exists():
        _begin(run, recipe, workflow)
    _check_same(run, recipe)
    with run.lock():
        archive = load_archive(run.path)
        manifest = SplitManifest.read(run.path, archive.table)
        if not (run.path / RESULT).exists():
            workflow.check_unchanged(archive)
            for fold in range(manifest.folds):
                fit(PretrainSetup(run.path, fold, recipe, workflow), training_of(recipe), run.fold_path(fold),
                    resume=True, quiet=quiet)
            _judge(run, recipe, workflow, archive, manifest)
        facts: dict[str, Any] = read_json(run.path / RESULT)
        _write_page(run, recipe, facts)
        _pretrained(run, recipe, workflow, archive, manifest).write()
    return list(facts["sentences"])


def seen_by(recipe: BiodiversityRecipe) -> BiodiversityRecipe:
    """The recipe with the modalities of the autoencoder in the place of the classifier's."""
    model = recipe.model.model_copy(update={"modalities": recipe.pretrain.modalities, "init_from": ""})
    return recipe.model_copy(update={"model": model})


def training_of(recipe: BiodiversityRecipe) -> TrainRecipe:
    """How the autoencoder is trained: as the recipe says, by the validation loss, without a word of classes."""
    return TrainRecipe(**{**{name: getattr(recipe.train, name) for name in TrainRecipe.model_fields},
                          "monitor": "val_loss", "use_class_weights": False, "balanced_sampling": False,
                          "use_focal_loss": False})


@dataclass(frozen=True)
class PretrainSetup:
    """Builds one process's share of one fold's fit. Can be pickled."""

    folder: Path
    fold: int
    recipe: BiodiversityRecipe
    workflow: Workflow

    def __call__(self, rank: int, world: int, device: torch.device) -> Setup:
        """Task and loaders of process ``rank`` of ``world``."""
        archive = load_archive(self.folder)
        manifest = SplitManifest.read(self.folder, archive.table)
        train, loader = self.recipe.train, self.recipe.loader
        rows = {part: manifest.rows(part, self.fold) for part in (TRAIN, VALIDATION)}

        def load(order: Order, place: torch.device | str) -> Loader:
            source = self.workflow.source(seen_by(self.recipe), archive, training=True)
            return Loader(source, order, {}, device=place, threads=loader.threads,
                          prefetch_batches=loader.prefetch_batches, workers=loader.workers)

        task = make_task(self.recipe, self.workflow, archive)
        once = load(Order(rows[TRAIN], train.batch_size, train.seed, shuffle=False), "cpu")
        try:
            task.standardise_by(once)
        finally:
            once.close()
        return Setup(task, load(Order(rows[TRAIN], train.batch_size, train.seed, rank=rank, world=world), device),
                     load(Order(rows[VALIDATION], train.batch_size, train.seed, shuffle=False, rank=rank, world=world),
                          device))


def make_task(recipe: BiodiversityRecipe, workflow: Workflow, archive: Archive) -> PretrainTask:
    """A freshly initialised task for the embeddings at hand; its first weights depend on the seed alone.

    Raises:
        InputError: there is no such modality, or the observations do not have it.
    """
    source = workflow.source(seen_by(recipe), archive, training=False)
    fields = dict(source.fields)
    source.close()
    widths = {}
    for modality in get_modalities(recipe.pretrain.modalities):
        if modality.name not in fields:
            raise InputError(f"The observations have no '{modality.name}'", where="pretrain.modalities",
                             fix=f"Choose from: {', '.join(fields) or 'nothing'}")
        if modality.is_vector:
            widths[modality.name] = int(fields[modality.name].shape[-1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.train.seed, "weights"))
        return PretrainTask(recipe.pretrain, widths)


def _begin(run: RunFolder, recipe: BiodiversityRecipe, workflow: Workflow) -> None:
    RunFolder.check_free(run.path)
    check_devices(recipe.train)
    archive = workflow.open(seen_by(recipe))
    for name, reason in archive.table.origin.get("left_out", {}).items():
        say(f"Left out: {name}: {reason}")
    manifest = workflow.divide(recipe, archive)
    require_clean(manifest, recipe.split.allow_leakage)
    make_task(recipe, workflow, archive)
    try:
        save_archive(archive, run.path)
        manifest.write(run.path)
        write_json(run.path / "provenance.json", provenance(table=archive.table.fingerprint,
                                                            origin=archive.table.origin))
        write_text(run.path / RECIPE, dump_recipe(recipe))  # last: its presence is what makes the folder a pretraining
    except BaseException:
        run.remove()
        raise


def _check_same(run: RunFolder, recipe: BiodiversityRecipe) -> None:
    before, now = load_recipe(type(recipe), run.path / RECIPE).model_dump(mode="json"), recipe.model_dump(mode="json")
    changed = [f"{part}.{key} was {before[part][key]!r} and is {now[part][key]!r}"
               for part in ("data", "pretrain", "loader", "split", "train") for key in now.get(part, {})
               if (part, key) not in _FREE and before[part].get(key) != now[part][key]]
    if changed:
        raise InputError(f"The pretraining in this folder has another recipe: {'; '.join(changed)}", where=run.path,
                         fix="Go on with the recipe it was begun with, or choose another folder with --out")


def _judge(run: RunFolder, recipe: BiodiversityRecipe, workflow: Workflow, archive: Archive,
           manifest: SplitManifest) -> None:
    device = check_devices(recipe.train)
    source = workflow.source(seen_by(recipe), archive, training=False)
    loading = Loading(source, recipe.train.batch_size, recipe.loader.threads, device)
    parts = []
    for fold in range(manifest.folds):
        rows = manifest.rows(TEST, fold)
        if not len(rows):
            continue
        task = make_task(recipe, workflow, archive)
        load_best(task, run.fold_path(fold))
        errors = measure(task.to(device), loading, rows, seed=derive_seed(recipe.split.seed, "fold", fold))
        parts.append(errors.assign(fold=fold))
    if not parts:
        raise InputError("No observation is tested, so that nothing can be said of the pretraining", where=run.path,
                         fix="Change split.* so that a test part remains")
    errors = pd.concat(parts, ignore_index=True)
    facts = summarise(errors, archive.table, recipe.evaluate, seed=recipe.split.seed, stratum=manifest.stratum)
    note = notes_of(archive, recipe)
    facts = {"simulated": bool(note.get("simulated")), "allow_leakage": note.get("allow_leakage", ""),
             "folds": manifest.folds, **facts}
    facts["sentences"] = [*([SIMULATED] if facts["simulated"] else []), *facts["sentences"],
                          *([LOOK_UP] if "language" in recipe.pretrain.modalities else [])]
    names: NDArray[np.object_] = archive.table.column("sample_id").to_numpy(dtype=object)
    errors.insert(0, "sample_id", names[errors.pop("row").to_numpy(np.int64)])
    with atomic_path(run.path / "reconstruction.parquet") as temporary:
        errors.to_parquet(temporary, index=False)
    write_json(run.path / RESULT, facts)


def _pretrained(run: RunFolder, recipe: BiodiversityRecipe, workflow: Workflow, archive: Archive,
                manifest: SplitManifest) -> Pretrained:
    network = make_task(recipe, workflow, archive).network
    note = {key: value for key, value in notes_of(archive, recipe).items() if key in ("simulated", "allow_leakage")}
    return Pretrained(run.path, network.widths, network.fusion_dim, recipe.pretrain.place_size, manifest.folds, note)


def _write_page(run: RunFolder, recipe: BiodiversityRecipe, facts: dict[str, Any]) -> None:
    loader = ChoiceLoader([PackageLoader("groundswell.pipelines.biodiversity"), PackageLoader("groundswell.evaluate")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    environment.filters["decimal"] = decimal
    page = environment.get_template("reconstruction.html.j2").render(
        title="What modalities say of each other", run=run.path.name, facts=facts, rivals=RIVALS, all=ALL,
        recipe_yaml=dump_recipe(recipe))
    write_text(run.path / "reconstruction.html", page)
