"""core: the run folder: what happened, in files that can each be opened on their own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from groundswell.core.errors import BusyError, InputError
from groundswell.core.files import read_json, write_json, write_text
from groundswell.core.locks import lock_file
from groundswell.core.recipe import RecipePart, dump_recipe, load_recipe, recipe_pipeline

R = TypeVar("R", bound=RecipePart)
LOCK = "run.lock"
"""The file by which a process holds a run's folder."""
PROVENANCE = "provenance.json"
STATES = ("created", "training", "trained", "evaluated")


@dataclass(frozen=True)
class RunFolder:
    """Paths and state of one run.

    ``recipe.yaml`` (resolved), ``provenance.json``, ``status.json``, ``samples.parquet``, ``split.json`` and
    ``split.parquet``; one folder ``fold-K`` for each fold, with checkpoints, logs and weights; ``predictions.parquet``
    (test) and ``validation.parquet``; ``metrics.json``, ``figures/`` and ``report.html`` once evaluated.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, recipe: RecipePart, facts: dict[str, Any]) -> RunFolder:
        """Start a new run in ``path``, which must be empty or absent.

        Raises:
            InputError: something is there already.
        """
        path = Path(path)
        cls.check_free(path)
        run = cls(path)
        with _made(path), run.lock():
            cls.check_free(path)  # of two that come at the same moment, the second one finds the first one's run
            try:
                write_json(path / PROVENANCE, {**facts, "recipe": recipe.model_dump(mode="json")})
                run.set_status("created")
                write_text(run.recipe_path, dump_recipe(recipe))  # last: its presence is what makes the folder a run
            except BaseException:
                run.remove()
                raise
        return run

    def remove(self) -> None:
        """Take back a run that could not be begun: the files of the folder, and the folder if nothing else is in it."""
        with contextlib.suppress(OSError):
            for path in self.path.iterdir():
                path.unlink()
            self.path.rmdir()

    @staticmethod
    def check_free(path: Path) -> None:
        """See that a new run can be started in ``path``.

        Raises:
            InputError: something is there already.
        """
        if (path / "recipe.yaml").exists():
            raise InputError("There is a run in this folder already", where=path,
                             fix="Go on with it by 'groundswell resume', or choose another folder with --out")
        if path.exists() and (not path.is_dir() or any(item.name != LOCK for item in path.iterdir())):
            raise InputError("The folder for the run is not empty", where=path, fix="Choose another with --out")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run in ``path``.

        Raises:
            InputError: there is none.
        """
        path = Path(path)
        if not (path / "recipe.yaml").is_file():
            raise InputError("This is not the folder of a run: it has no recipe.yaml", where=path,
                             fix="'groundswell runs' lists the runs below a folder")
        return cls(path)

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def pipeline(self) -> str:
        """Name of the pipeline the run belongs to."""
        return recipe_pipeline(self.recipe_path)

    def recipe(self, model: type[R]) -> R:
        """The resolved recipe as the model of its pipeline."""
        return load_recipe(model, self.recipe_path)

    def fold_path(self, fold: int) -> Path:
        """Folder of the ``fold``-th fit, counted from 0 (the folder's name counts from 1)."""
        return self.path / f"fold-{fold + 1}"

    @property
    def status(self) -> dict[str, Any]:
        """State and its facts; ``state`` is created, training, trained or evaluated.

        Raises:
            InputError: it cannot be read.
        """
        value = read_json(self.path / "status.json")
        if not isinstance(value, dict) or value.get("state") not in STATES:
            raise InputError(f"This is no state of a run; it would be one of {', '.join(STATES)}",
                             where=self.path / "status.json", fix="Correct the file, or train again in another folder")
        return value

    @property
    def begun(self) -> dict[str, Any]:
        """What was written down when the run was begun: versions, fingerprints, the recipe; empty for a fit inside."""
        path = self.path / PROVENANCE
        value = read_json(path) if path.exists() else {}
        if not isinstance(value, dict):
            raise InputError("This is no provenance of a run", where=path, fix="Put the file back as it was")
        return value

    def set_status(self, state: str, **facts: Any) -> None:
        """Record how far the run has come."""
        write_json(self.path / "status.json", {"state": state, **facts})

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; released by the system even after kill -9.

        Raises:
            BusyError: another process works in the folder.
            InputError: the folder cannot be written to.
        """
        with lock_file(self.path / LOCK) as (mine, holder):
            if not mine:
                raise BusyError(f"Another process works in this run folder ({holder or 'unknown'})", where=self.path,
                                fix="Wait for it, stop it, or choose another folder with --out")
            yield


@contextlib.contextmanager
def _made(path: Path) -> Iterator[None]:
    """See that there is a folder at ``path``; take it away again if the block fails, it is new and empty."""
    there = path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write here: {error.strerror}", where=path.parent,
                         fix="Choose a folder that exists and can be written to") from error
    try:
        yield
    except BaseException:
        if not there:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def find_runs(folder: Path) -> list[RunFolder]:
    """Every run below ``folder``, by path; the fits of controls inside a run are not runs of their own."""
    found = []
    for place, folders, files in os.walk(folder):
        folders.sort()
        if "recipe.yaml" in files and "status.json" in files:
            found.append(RunFolder(Path(place)))
            folders.clear()
    return found
