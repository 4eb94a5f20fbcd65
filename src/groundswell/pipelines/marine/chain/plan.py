"""marine: which steps a chain has, in which folders, by which recipes: a pure function of the recipe and the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from groundswell.core.errors import InputError
from groundswell.core.recipe import RecipePart
from groundswell.pipelines.marine.augment_levels import LEVELS
from groundswell.pipelines.marine.recipe import STEPS, MarineRecipe, VariantRecipe

Kind = Literal["pretrain", "fit", "mine", "select", "fuse", "calibrate", "export"]
MEMBERS = ("recall", "balanced", "precision")


@dataclass(frozen=True)
class Stage:
    """One thing that the chain does.

    Attributes:
        name: such as ``variants/recall``; also its folder below the chain's.
        step: the step of the recipe that it belongs to.
        kind: what is done.
        recipe: with which it is done.
        title: for people.
        needs: stages whose results it takes.
    """

    name: str
    step: str
    kind: Kind
    recipe: MarineRecipe
    title: str
    needs: tuple[str, ...] = ()


def stages_of(recipe: MarineRecipe, out: Path) -> list[Stage]:
    """All stages of a chain in ``out``, in their order.

    Args:
        recipe: of the chain; what it says of ``train`` is the baseline's.
        out: folder of the chain.
    """
    out, steps, found = Path(out).resolve(), recipe.steps, []
    last = recipe.model.start

    def fit(name: str, step: str, title: str, made: MarineRecipe, *, start: str, needs: tuple[str, ...]) -> str:
        found.append(Stage(name, step, "fit", _with(made, "model", start=start), title, needs))
        return str(out / name)

    if "pretrain" in steps:
        found.append(Stage("pretrain", "pretrain", "pretrain", recipe, "self-supervised pretraining"))
        last = str(out / "pretrain")
    needs = ("pretrain",) if "pretrain" in steps else ()
    last = fit("baseline", "baseline", "baseline", recipe, start=last, needs=needs)
    if "select" in steps:
        found.append(Stage("select", "select", "select", recipe, "what to annotate next", ("baseline",)))
    if "specialise" in steps:
        last = _specialise(recipe, out, found, fit, last)
    members = [last]
    if "variants" in steps:
        members = _members(recipe, found, fit, last)
    if "multiscale" in steps:
        members = _multiscale(recipe, found, fit, members)
    names = tuple(str(Path(member).relative_to(out)) for member in members)
    if "fuse" in steps:
        found.append(Stage("fuse", "fuse", "fuse", recipe, "fusion of the members", names))
    if "calibrate" in steps:
        found.append(Stage("calibrate", "calibrate", "calibrate", recipe, "views of each image and calibration", names))
    if "export" in steps:
        found.append(Stage("export", "export", "export", recipe, "export", names))
    return found


def _specialise(recipe: MarineRecipe, out: Path, found: list[Stage], fit: Any, last: str) -> str:
    special = recipe.specialise
    rounds = max(special.rounds, 1)
    shares = [special.epochs * (k + 1) // rounds - special.epochs * k // rounds for k in range(rounds)]
    made = _with(recipe, "sampling", oversampling_ratio=special.oversampling_ratio)
    # One after another all rounds make up the cosine of one training: the rate of each begins where the last one ended.
    for k, epochs in enumerate(shares):
        name, before = f"specialise/round-{k + 1}", str(Path(last).relative_to(out)) if _below(last, out) else ""
        needs = (before,) if before else ()
        if special.rounds:
            mined = f"specialise/mined-{k + 1}"
            found.append(Stage(mined, "specialise", "mine", recipe, f"hard negatives, round {k + 1}", needs))
            made = _with(made, "sampling", negatives=str(out / mined / "negatives.json"))
            needs = (*needs, mined)
        rate = special.learning_rate * (1 - k / rounds)
        last = fit(name, "specialise", f"specialised, round {k + 1}",
                   _trained(made, epochs=max(epochs, 1), learning_rate=rate), start=last, needs=needs)
    return last


def _members(recipe: MarineRecipe, found: list[Stage], fit: Any, last: str) -> list[str]:
    ensemble, before = recipe.variants, found[-1].name
    members = []
    for network in ensemble.networks or (recipe.model.name,):
        own = network == recipe.model.name
        for member in MEMBERS:
            facts: VariantRecipe = getattr(ensemble, member)
            made = _with(recipe, "augment", **LEVELS[facts.augmentation])
            made = _with(_with(made, "sampling", class_weights=facts.class_weights), "detect",
                         confidence=facts.confidence, iou=facts.iou)
            made = _trained(_with(made, "model", name=network), epochs=ensemble.epochs,
                            learning_rate=ensemble.learning_rate)
            title = "balanced variant" if member == "balanced" else f"variant for {member}"
            members.append(fit(f"variants/{member}" if own else f"variants/{network}-{member}", "variants",
                               title if own else f"{title}, {network}", made, start=last if own else "",
                               needs=(before,) if own else ()))
    return members


def _multiscale(recipe: MarineRecipe, found: list[Stage], fit: Any, members: list[str]) -> list[str]:
    many = recipe.multiscale
    by_name = {stage.name: stage for stage in found}
    after = []
    for member in members:
        name = Path(member).name
        before = next(stage for stage in by_name.values() if member.endswith(stage.name))
        made = _with(_trained(before.recipe, epochs=many.epochs, learning_rate=many.learning_rate,
                              batch_size=many.batch_size), "augment", sizes=many.sizes)
        after.append(fit(f"multiscale/{name}", "multiscale", f"{before.title}, many sizes", made, start=member,
                         needs=(before.name,)))
    return after


def _below(path: str, out: Path) -> bool:
    return Path(path).is_relative_to(out)


def _with(recipe: MarineRecipe, part: str, **changes: Any) -> MarineRecipe:
    """The recipe with some keys of one part changed, validated like any other."""
    section: RecipePart = getattr(recipe, part)
    return recipe.model_copy(update={part: type(section)(**{**section.model_dump(), **changes})})


def _trained(recipe: MarineRecipe, **changes: Any) -> MarineRecipe:
    """With another training; a chain's later steps warm up and close mosaic within their fewer epochs."""
    epochs = int(changes["epochs"])
    shorter: Mapping[str, Any] = {"warmup_epochs": min(recipe.train.warmup_epochs, epochs / 4)}
    made = _with(recipe, "train", **{**shorter, **changes})
    return _with(made, "augment", close_mosaic=min(recipe.augment.close_mosaic, epochs // 2))


def only(stages: list[Stage], step: str) -> list[Stage]:
    """The stages of one step.

    Raises:
        InputError: the recipe has no such step.
    """
    chosen = [stage for stage in stages if stage.step == step]
    if not chosen:
        raise InputError(f"The chain has no step '{step}'", where="--step",
                         fix=f"Choose one of: {', '.join(dict.fromkeys(stage.step for stage in stages))}; a recipe's "
                             f"steps are some of {', '.join(STEPS)}")
    return chosen


def check_folds(recipe: MarineRecipe, folds: int) -> None:
    """See that steps which go by one fit's parts have no other: hard negatives of one fold are another's test images.

    Raises:
        InputError: the split has several folds.
    """
    steps = [step for step in recipe.steps if step in ("specialise", "calibrate", "export")]
    if folds > 1 and steps:
        raise InputError(f"The step {steps[0]} takes one division into parts, and this one has {folds} folds",
                         where=f"split.regime: {recipe.split.regime}", fix="Use split.regime=grouped, or leave out of "
                         f"steps: {', '.join(steps)}")
