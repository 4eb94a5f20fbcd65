"""What the documentation shows is true: its Python examples run and print what the page says they print, its commands
exist, and its settings are keys of the recipe.

On a page of ``docs/rooms`` or ``docs/pipelines`` every block fenced as ``python`` is run, in order, in one namespace
and in an empty folder. A block fenced as ``text`` right after one must be what it printed (``...`` stands for
anything). An HTML comment ``<!-- not run -->`` before a block leaves it out.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from groundswell.cli.main import build_app
from groundswell.core.recipe import keys_of
from groundswell.core.registry import discover, get_pipeline
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe as SimulateStoreRecipe
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe
from groundswell.pipelines.geomag.building.recipe import BuildRecipe
from groundswell.pipelines.geomag.simulate.recipe import SimulateRecipe as SimulateWindowsRecipe
from groundswell.pipelines.marine.organise_recipe import OrganiseRecipe
from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe as PrepareImagesRecipe
from groundswell.pipelines.marine.recipe import FuseRecipe, SelectRecipe
from groundswell.pipelines.marine.simulate.recipe import SceneRecipe
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe
from groundswell.pipelines.symae.prepare_recipe import PrepareRecipe
from groundswell.pipelines.symae.simulate.recipe import WorldRecipe

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((*(ROOT / "docs" / "rooms").glob("*.md"), *(ROOT / "docs" / "pipelines").glob("*.md")))
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("README.md"), *ROOT.glob("*.md")])
PAGES = [page for page in PAGES if "_build" not in page.parts and "gallery" not in page.parts]
FENCE = re.compile(r"^(?P<fence>```+)(?P<kind>[^\n]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)
KNOBS = {("das", "simulate"): SimulateRecipe, ("geomag", "simulate"): SimulateWindowsRecipe,
         ("geomag", "build"): BuildRecipe, ("biodiversity", "simulate"): SimulateStoreRecipe,
         ("symae", "simulate"): WorldRecipe, ("symae", "prepare"): PrepareRecipe,
         ("marine", "simulate"): SceneRecipe, ("marine", "organise"): OrganiseRecipe,
         ("marine", "prepare"): PrepareImagesRecipe, ("marine", "select"): SelectRecipe, ("marine", "fuse"): FuseRecipe,
         ("marine", "track"): TrackRecipe}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Example:
    """A block of Python, the line it begins at, and what it must print (None: anything)."""

    line: int
    code: str
    prints: str | None


def blocks(page: Path) -> list[tuple[int, str, str, str]]:
    """(line, kind, body, text between it and the block before) of every fenced block."""
    text, found, last = page.read_text(encoding="utf-8"), [], 0
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        found.append((line, match["kind"].strip(), match["body"], text[last:match.start()]))
        last = match.end()
    return found


def examples(page: Path) -> list[Example]:
    found: list[Example] = []
    parts = blocks(page)
    for k, (line, kind, body, before) in enumerate(parts):
        if kind != "python" or before.rstrip().endswith("<!-- not run -->"):
            continue
        following = parts[k + 1] if k + 1 < len(parts) else None
        printed = following[2] if following and following[1] == "text" and not following[3].strip() else None
        found.append(Example(line, body, printed))
    return found


RUN = [page for page in EXAMPLES if examples(page)]


def test_rooms_and_pipelines_have_examples() -> None:
    assert {page.stem for page in RUN} >= {"core", "data", "splits", "models", "train", "evaluate", "deploy", "das",
                                           "geomag", "biodiversity", "biodiversity-simulator", "symae",
                                           "symae-simulator", "marine", "marine-simulator"}


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_examples_run_and_print_what_the_page_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GROUNDSWELL_QUIET", "1")
    # A module of its own: classes defined on the page are looked up in their module by torch and by pickle.
    names: dict[str, Any] = {"__name__": "__main__"}
    for example in examples(page):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile("\n" * (example.line - 1) + example.code, str(page), "exec"), names)
        if example.prints is not None:
            same = doctest.OutputChecker().check_output(example.prints, out.getvalue(), FLAGS)
            assert same, f"{page.name}, line {example.line}, prints\n{out.getvalue()}\nand not\n{example.prints}"


def commands(page: Path) -> list[tuple[int, list[str]]]:
    """Every ``$ groundswell ...`` of the page's console blocks, as words."""
    found = []
    for line, kind, body, _ in blocks(page):
        if kind in ("console", "bash", "sh"):
            joined = re.sub(r"\\\n\s*", " ", body)
            for number, text in enumerate(joined.splitlines()):
                if text.startswith("$ groundswell" if kind == "console" else ("$ groundswell", "groundswell")):
                    found.append((line + number, shlex.split(text.removeprefix("$ "), comments=True)))
    return found


def pipeline_of(words: list[str]) -> str:
    """The pipeline whose recipe a command's ``--set`` is about; of verbs for any run, that of das."""
    return words[1] if words[1] in discover() else "das"


WITH_COMMANDS = [page for page in PAGES if commands(page)]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist_with_their_options(page: Path) -> None:
    problems = []
    for line, words in commands(page):
        command: Any = typer.main.get_command(build_app())
        for place, word in enumerate(words[1:], start=1):
            if word.startswith("-"):
                option = word.partition("=")[0]
                known = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
                if option not in (*known, "--help"):
                    problems.append(f"line {line}: '{' '.join(words)}' has no option {option}")
            elif hasattr(command, "commands"):
                if word not in command.commands:
                    problems.append(f"line {line}: '{' '.join(words)}': there is no command {word}")
                    break
                command = command.commands[word]
            if word == "--set":
                key = words[place + 1].partition("=")[0]
                recipe = KNOBS.get((words[1], words[2])) or get_pipeline(pipeline_of(words)).recipe_class()
                if key not in set(keys_of(recipe)):
                    problems.append(f"line {line}: the recipe has no key {key}")
    assert not problems, f"{page}: " + "; ".join(problems)


def test_there_are_commands_to_check() -> None:
    assert sum(len(commands(page)) for page in WITH_COMMANDS) > 20


def test_tests_that_pages_name_exist() -> None:
    found = re.compile(r"`(tests/[\w/]+\.py)")
    named = {(page.name, name) for page in PAGES for name in found.findall(page.read_text("utf-8"))}
    assert len(named) > 20
    assert not [(page, name) for page, name in named if not (ROOT / name).is_file()]
