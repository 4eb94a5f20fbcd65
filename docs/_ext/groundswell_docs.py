"""Directives of this documentation: a room's API, and the table of a pipeline's recipe, both made at build time."""

from __future__ import annotations

import builtins
import html
import importlib
import inspect
import pkgutil
import re
import sys
from functools import cache
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PAGES = Path(__file__).resolve().parent.parent / "pipelines"
SEED_KEYS = {"das": PAGES / "seed-keys.md", "geomag": PAGES / "geomag-seed-keys.md",
             "marine": PAGES / "marine-seed-keys.md"}
"""By pipeline, the page with the names that its seed gave to keys."""


def modules_of(room: str) -> list[str]:
    """Names of all modules of a room that say what they are, packages before what is in them."""
    package = importlib.import_module(room)
    found = [room]
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{room}."):
        if not module.name.rsplit(".", 1)[-1].startswith("_"):
            found.append(module.name)
    return found


def table_rows(page: Path) -> list[list[str]]:
    """Cells of all rows of the Markdown tables of a page, headings left out."""
    rows = []
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and not set("".join(cells)) <= set("-: "):
            rows.append(cells)
    return rows[1:]


def seed_names(pipeline: str) -> dict[str, str]:
    """The seed's key by ours, from the table of both."""
    found: dict[str, str] = {}
    for seed, ours, *_ in table_rows(SEED_KEYS[pipeline]) if pipeline in SEED_KEYS else []:
        for key in re.findall(r"`([a-z_.]+)`", ours):
            found[key] = ", ".join(filter(None, [found.get(key), seed.replace("`", "")]))
    return found


class ApiOfRoom(SphinxDirective):
    """``.. api-of-room:: groundswell.core [module ...]``: the documented objects of every module of a room."""

    required_arguments = 1
    optional_arguments = 40

    def run(self) -> list[nodes.Node]:
        """Headings and ``automodule`` for each module, parsed in place."""
        text = StringList()
        for name in [found for room in self.arguments for found in modules_of(room)]:
            title = name.removeprefix("groundswell.")
            for line in (f".. rubric:: {title}", "   :heading-level: 2", "", f".. automodule:: {name}", ""):
                text.append(line, "api-of-room")
        holder = nodes.container()
        holder.document = self.state.document
        self.state.nested_parse(text, self.content_offset, holder)
        return holder.children


class RecipeTable(SphinxDirective):
    """``recipe-table`` with the name of a pipeline: every key, its type, default, meaning and the seed's name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One table for each part of the recipe."""
        from groundswell.core.recipe import describe_recipe
        from groundswell.core.registry import get_pipeline

        seed = seed_names(self.arguments[0])
        parts: dict[str, list[tuple[str, ...]]] = {}
        for key, kind, default, meaning in describe_recipe(get_pipeline(self.arguments[0]).recipe_class()):
            row = (key, _type(kind), default, " ".join(meaning.split()), seed.get(key, ""))
            parts.setdefault(key.partition(".")[0] if "." in key else "", []).append(row)
        found: list[nodes.Node] = []
        for part, rows in parts.items():
            section = nodes.section(ids=[f"recipe-{part or 'top'}"])
            section += nodes.title(text=part or "At the top")
            section += _table(("key", "type", "default", "meaning", "seed's key"), rows, (21, 15, 13, 37, 14),
                              code=(0, 2, 4))
            found.append(section)
        return found


def escape_names(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """In docstrings a name that ends in an underscore (``val_``) is a name and no link."""
    lines[:] = [re.sub(r"(?<![`\w])(\w+)_(?![\w`])", r"\1\\_", line) if "`" not in line else line for line in lines]


def keep_sentences(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """What stands before a colon in the docstring of an attribute is the beginning of a sentence and no type."""
    if what == "attribute":
        lines[:0] = ["..", ""]  # a comment without words, where a type would be looked for


def name_what_is_meant(app: Sphinx, doctree: nodes.document) -> None:
    """A type in a signature is the one that its module knows by that name, whatever else is called so elsewhere.

    ``type`` and the like are Python's own, and a small word that the module does not know is a word and no type.
    """
    for reference in list(doctree.findall(pending_xref)):
        name, module = reference["reftarget"], reference.get("py:module") or ""
        if reference["refdomain"] != "py" or "." in name:
            continue
        known = hasattr(sys.modules.get(module), name)
        if hasattr(builtins, name) or (not known and name.islower() and reference["reftype"] in ("class", "obj")):
            reference.replace_self(nodes.inline(text=name))
        elif reference["reftype"] in ("class", "obj") and (place := defined_in(module, name)):
            reference["reftarget"], reference["refspecific"] = f"{place}.{name}", False


@cache
def defined_in(module: str, name: str) -> str:
    """The module that defines what ``module`` calls by a name: by its own imports, or one of its pipeline or room."""
    known = getattr(sys.modules.get(module), name, None)
    if isinstance(known, type):
        return known.__module__ if known.__module__.startswith("groundswell.") else ""
    words = module.split(".")
    family = ".".join(words[:3 if words[1:2] == ["pipelines"] else 2])  # what is imported for types alone is not there
    for place, found in sorted(sys.modules.items()):
        if (place == family or place.startswith(f"{family}.")) and hasattr(found, name):
            thing = getattr(found, name)
            if thing.__module__ == place if isinstance(thing, type) else f"\n{name} = " in inspect.getsource(found):
                return place
    return ""


def _type(kind: str) -> str:
    """``Literal['a', 'b']`` as the values themselves; everything else as Python writes it."""
    choice = re.fullmatch(r"Literal\[(.*)\]", kind)
    return choice[1].replace("'", "").replace(", ", " or ") if choice else kind.replace("NoneType", "None")


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]], widths: tuple[int, ...],
           code: tuple[int, ...]) -> nodes.table:
    table = nodes.table(classes=["recipe", "colwidths-given"])
    group = nodes.tgroup(cols=len(titles))
    group += [nodes.colspec(colwidth=width) for width in widths]
    head, body = nodes.thead(), nodes.tbody()
    head += _row([nodes.paragraph(text=title) for title in titles])
    for cells in rows:
        body += _row([_code(cell) if k in code and cell else nodes.paragraph(text=cell)
                      for k, cell in enumerate(cells)])
    group += [head, body]
    table += group
    return table


def _code(text: str) -> nodes.paragraph:
    """A name that may be broken after its dots and underscores, and is still whole when copied."""
    broken = re.sub(r"([._])(?=\w)", r"\1<wbr>", html.escape(text))
    return nodes.paragraph("", "", nodes.raw("", f"<code>{broken}</code>", format="html"))


def _row(paragraphs: list[nodes.paragraph]) -> nodes.row:
    row = nodes.row()
    row += [nodes.entry("", paragraph) for paragraph in paragraphs]
    return row


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.connect("autodoc-process-docstring", keep_sentences, priority=400)  # before napoleon, which would see a type
    app.connect("autodoc-process-docstring", escape_names)
    app.connect("doctree-read", name_what_is_meant)
    app.add_directive("api-of-room", ApiOfRoom)
    app.add_directive("recipe-table", RecipeTable)
    return {"parallel_read_safe": True}
