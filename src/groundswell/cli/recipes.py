"""cli: `groundswell recipe`: start one, show every key, check one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Recipes: the complete configuration of a run.", no_args_is_help=True, rich_markup_mode=None)

PipelineName = Annotated[str, typer.Argument(help="Which pipeline, e.g. das.", metavar="PIPELINE")]


@app.command()
def show(pipeline: PipelineName) -> None:
    """Every key, its type, its default and its meaning."""
    from groundswell.core.recipe import describe_recipe
    from groundswell.core.registry import get_pipeline

    for key, kind, default, meaning in describe_recipe(get_pipeline(pipeline).recipe_class()):
        print(f"{key}: {default}   ({kind})\n    {' '.join(meaning.split())}")


@app.command()
def init(
    pipeline: PipelineName,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("recipe.yaml"),
    of: Annotated[str, typer.Option("--from", help="Shipped recipe to start from; the defaults otherwise.")] = "",
) -> None:
    """Write a commented recipe to start from.

    Example: groundswell recipe init das --out mine.yaml
    """
    from groundswell.core.errors import InputError
    from groundswell.core.files import write_text
    from groundswell.core.recipe import build_recipe, commented_yaml, load_recipe, shipped_recipe
    from groundswell.core.registry import get_pipeline

    if out.exists():
        raise InputError("There is a file of that name already", where=out, fix="Choose another with --out")
    found = get_pipeline(pipeline)
    model = found.recipe_class()
    recipe = load_recipe(model, shipped_recipe(found.module, of)) if of else build_recipe(model, {})
    write_text(out, commented_yaml(recipe))
    print(f"Wrote {out}. Next: groundswell {pipeline} train {out} --out runs/first")


@app.command()
def validate(recipe: Annotated[Path, typer.Argument(help="Recipe file.")]) -> None:
    """Check a recipe without running it.

    Example: groundswell recipe validate mine.yaml
    """
    from groundswell.core.recipe import load_recipe, recipe_pipeline
    from groundswell.core.registry import get_pipeline

    load_recipe(get_pipeline(recipe_pipeline(recipe)).recipe_class(), recipe)
    print(f"{recipe} holds.")
