"""pipelines: what the verbs of every pipeline share on the command line. Light to import."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from groundswell.core.errors import InputError
from groundswell.core.recipe import RecipePart

if TYPE_CHECKING:
    from groundswell.splits.manifest import SplitManifest

R = TypeVar("R", bound=RecipePart)

Sets = Annotated[list[str] | None, typer.Option("--set", help="Override a key: --set train.epochs=10. Repeatable.")]
KnobSets = Annotated[list[str] | None, typer.Option("--set", help="A knob and its value. Repeatable.")]
Knobs = Annotated[bool, typer.Option("--knobs", help="List the knobs and their defaults, and leave.")]
Run = Annotated[Path, typer.Argument(help="Folder of a trained run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")]
Fold = Annotated[int, typer.Option(help="Which fold's network, from 1; 0 takes all.")]


def recipe_of(model: type[R], package: str, name: str, sets: list[str] | None) -> R:
    """The recipe in a file, or a shipped one by its name, with some keys overridden.

    Args:
        model: class of the recipe.
        package: of the pipeline.
        name: as the person gave it.
        sets: ``key=value``.
    """
    from groundswell.core.recipe import load_recipe, shipped_recipe

    path = Path(name)
    return load_recipe(model, path if path.is_file() else shipped_recipe(package, name), sets or [])


def list_knobs(model: type[RecipePart]) -> None:
    """Print the keys of a recipe with type, default and meaning."""
    from groundswell.core.recipe import describe_recipe

    for key, kind, default, meaning in describe_recipe(model):
        print(f"{key}: {default}   ({kind})\n    {' '.join(meaning.split())}")


def tell(lines: Iterable[Any]) -> None:
    """Print what was found, line by line."""
    for line in lines:
        print(line)


def needed(value: Path | None, what: str, verb: str, example: str) -> Path:
    """An argument that may only be absent where knobs are listed.

    Raises:
        InputError: it is absent.
    """
    if value is None:
        raise InputError(f"{what} is missing", where=verb, fix=f"Name it: {example}")
    return value


def write_split(manifest: SplitManifest, out: Path | None) -> None:
    """Write a division into a folder, where one is named. That of a run has its own, by which it was trained.

    Raises:
        InputError: the folder is that of a run.
    """
    if out is not None:
        check_split_place(out)
        manifest.write(out)


def check_split_place(out: Path) -> None:
    """See that a division, whether a folder or a ``.json`` document, does not come into the folder of a run.

    Raises:
        InputError: it would.
    """
    folder = out.parent if out.suffix == ".json" else out
    if (folder / "recipe.yaml").exists():
        raise InputError("This folder is that of a run, which is judged by the division it was trained with",
                         where=f"--out {out}", fix="Choose another folder")
