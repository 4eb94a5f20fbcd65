"""Every row of docs/promises/*.md names something that exists and a test that holds it.

A row is ``| what the seed says | our name | test |``. A name in backticks is one of: ``package.module:Attribute``
(imported), ``NAME key.of.the.recipe = default`` (checked against the recipe of pipeline NAME), ``groundswell verb
--option`` (checked against the command line). A name without backticks reads "replaced by ... because ...".
"""

from __future__ import annotations

import ast
import importlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "promises").glob("*.md"))


def rows(page: Path) -> list[tuple[str, str, str]]:
    found = []
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and not set(cells[0]) <= set("-: ") and cells[0] != "what the seed says":
            found.append((cells[0], cells[1], cells[2]))
    return found


@cache
def functions_in(path: Path) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            names.add(node.name)
    return frozenset(names)


@cache
def recipe_defaults(pipeline: str) -> dict[str, str]:
    from groundswell.core.recipe import describe_recipe
    from groundswell.core.registry import get_pipeline

    return {key: default for key, _, default, _ in describe_recipe(get_pipeline(pipeline).recipe_class())}


@cache
def command_line() -> Any:
    import typer.main

    from groundswell.cli.main import build_app

    return typer.main.get_command(build_app())


def check_import(name: str) -> None:
    module, _, attribute = name.partition(":")
    thing: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        thing = getattr(thing, part)


def check_recipe(name: str) -> None:
    pipeline, key, *rest = name.split(" ", 2)
    defaults = recipe_defaults(pipeline)
    assert key in defaults, f"the recipe of {pipeline} has no key {key}"
    if rest:
        wanted = rest[0].removeprefix("= ")
        assert json.loads(defaults[key]) == json.loads(wanted), f"{key} defaults to {defaults[key]}, not {wanted}"


def check_command(name: str) -> None:
    command = command_line()
    for word in name.split()[1:]:
        if word.startswith("-"):
            known = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
            assert word in known, f"{name}: there is no option {word}"
        elif word.islower():
            assert word in command.commands, f"{name}: there is no command {word}"
            command = command.commands[word]


def test_there_are_promises() -> None:
    assert PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_promise_has_a_name_that_exists(page: Path) -> None:
    assert len(rows(page)) > 20
    problems = []
    for promise, name, _ in rows(page):
        quoted = re.findall(r"`([^`]+)`", name)
        if not quoted and not (name.startswith("replaced by ") and " because " in name):
            problems.append(f"{promise}: '{name}' is neither a name nor 'replaced by ... because ...'")
        for item in quoted:
            check = check_command if item.startswith("groundswell ") else check_import if ":" in item else check_recipe
            try:
                check(item)
            except (ImportError, AttributeError, AssertionError, ValueError, IndexError) as error:
                problems.append(f"{promise}: {item}: {error}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_promise_is_held_by_a_test(page: Path) -> None:
    problems = []
    for promise, _, tests in rows(page):
        named = re.findall(r"`(tests/[^`]+)`", tests)
        if not named:
            problems.append(f"{promise}: no test")
        for item in named:
            path, _, function = item.partition("::")
            if not (ROOT / path).is_file() or function not in functions_in(ROOT / path):
                problems.append(f"{promise}: {item} does not exist")
    assert not problems, "\n".join(problems)
