"""core: which pipelines there are. A pipeline is a folder, found by scanning and by entry point."""

from __future__ import annotations

import importlib
import keyword
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError

ENTRY_POINTS = "groundswell.pipelines"


@dataclass(frozen=True)
class Pipeline:
    """What a pipeline's ``__init__`` declares, without importing anything heavy.

    Attributes:
        name: the word on the command line.
        title: one line for people.
        module: the package the rest is found in; ``recipe.py`` and ``steps.py`` are imported from it on demand.
        recipe: name of the recipe class in ``recipe.py``.
        steps: the pipeline's own verbs in the order one takes them, each a function of that name in ``steps.py``
            (``-`` for ``_``).
        extras: the optional dependencies it can use.
        series: for each kind of folder that holds several runs, the file in it that is its recipe, and the verb that
            begins one and goes on with it.
    """

    name: str
    title: str
    module: str
    recipe: str
    steps: tuple[str, ...]
    extras: tuple[str, ...] = ()
    series: tuple[tuple[str, str], ...] = ()

    def recipe_class(self) -> type[Any]:
        """The pydantic model of this pipeline's recipes."""
        return getattr(importlib.import_module(f"{self.module}.recipe"), self.recipe)  # type: ignore[no-any-return]

    def step(self, name: str) -> Callable[..., Any]:
        """The function behind a verb; of one that Python keeps for itself, such as import, the name ends in ``_``."""
        function = name.replace("-", "_") + "_" * keyword.iskeyword(name)
        return getattr(importlib.import_module(f"{self.module}.steps"), function)  # type: ignore[no-any-return]

    def workflow(self) -> Any:
        """The pipeline's :class:`groundswell.pipelines.workflow.Workflow`, imported on demand (heavy)."""
        return importlib.import_module(f"{self.module}.data").WORKFLOW


@cache
def discover() -> dict[str, Pipeline]:
    """All pipelines, shipped ones first, by name."""
    package = importlib.import_module("groundswell.pipelines")
    found: dict[str, Pipeline] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            pipeline = importlib.import_module(f"groundswell.pipelines.{module.name}").PIPELINE
            found[pipeline.name] = pipeline
    for point in entry_points(group=ENTRY_POINTS):
        pipeline = point.load()
        found.setdefault(pipeline.name, pipeline)
    return found


def series_in(folder: Path) -> tuple[Pipeline, Path, str] | None:
    """The pipeline, the recipe and the verb of the runs that a folder holds several of; None if it does not."""
    for pipeline in discover().values():
        for name, verb in pipeline.series:
            if (folder / name).is_file():
                return pipeline, folder / name, verb
    return None


def get_pipeline(name: str) -> Pipeline:
    """The pipeline called ``name``.

    Raises:
        InputError: there is none of that name.
    """
    known = discover()
    if name not in known:
        raise InputError(f"There is no pipeline '{name}'", fix=f"Known pipelines: {', '.join(sorted(known))}")
    return known[name]
