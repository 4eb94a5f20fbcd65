"""core: recipes, the complete configuration of a run, as strict pydantic models read from YAML."""

from __future__ import annotations

import difflib
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from groundswell.core.errors import InputError


class RecipePart(BaseModel):
    """Base of every part of a recipe: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False,
                              use_attribute_docstrings=True)

    listed_by: ClassVar[str] = ""
    """The command that lists every key, for messages; empty where there is none."""


R = TypeVar("R", bound=RecipePart)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's idea of a number: ``1e-4`` is one (YAML 1.1 reads it as text). A key may stand in a mapping once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As SafeLoader does, but of two values for one key none is chosen in silence."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"the key '{key.value}' is given twice",
                                               problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d+)|\d[\d_]*\.\d*|\.\d+(?:[eE][-+]?\d+)?|\.(?:inf|nan))$"),
    list("-+0123456789."),
)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"Not valid YAML: {getattr(error, 'problem', error)}", where=f"{where}{line}",
                         fix="Correct the recipe and run again") from error


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key a recipe knows, in order: ``train.learning_rate`` and so on."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys_of(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _assign(values: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    if not equals:
        raise InputError(f"'--set {assignment}' has no '='", fix="Write it as --set train.learning_rate=1e-4")
    *parents, last = key.strip().split(".")
    place = values
    for parent in parents:
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise InputError(f"'{key}' goes below '{parent}', which is a single value", where="--set")
        place = inner
    place[last] = _parse_yaml(text, f"--set {key}")


def _explain(error: ValidationError, model: type[BaseModel], where: str) -> InputError:
    lines = []
    known = list(keys_of(model))
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            near = near or [k for k in known if k.split(".")[-1] == key.split(".")[-1]][:1]
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            lines.append(f"there is no key '{key}'{hint}")
        elif problem["type"] == "missing":
            lines.append(f"the key '{key}' is missing")
        else:
            reason = problem["msg"].removeprefix("Value error, ")
            given = problem.get("input")
            shown = "" if isinstance(given, dict) else f" (given: {given!r})"
            lines.append(f"'{key}': {reason}{shown}" if key else reason)
    command = getattr(model, "listed_by", "")
    listed = f"; '{command}' lists every key and its default" if command else ""
    return InputError("The recipe does not hold: " + "; ".join(lines), where=where, fix=f"Correct these keys{listed}")


def build_recipe(model: type[R], values: dict[str, Any], sets: Sequence[str] = (), *, where: str = "recipe") -> R:
    """Validate ``values`` after applying ``--set`` assignments.

    Raises:
        InputError: unknown keys (with the nearest known name), wrong types or impossible values, all in one message.
    """
    values = json.loads(json.dumps(values, default=str))
    for assignment in sets:
        _assign(values, assignment)
    try:
        # JSON mode is strict about numbers and text, yet takes a list for a tuple and text for a path.
        return model.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise _explain(error, model, where) from error


def load_recipe(model: type[R], path: Path, sets: Sequence[str] = ()) -> R:
    """Read a recipe from a YAML file. See :func:`build_recipe` for what is raised."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The recipe cannot be read: {getattr(error, 'strerror', None) or error}",
                         where=path) from error
    values = _parse_yaml(text, str(path))
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InputError("A recipe is a mapping of keys to values", where=path)
    return build_recipe(model, values, sets, where=str(path))


def dump_recipe(recipe: RecipePart) -> str:
    """The resolved recipe as YAML, every key written out, in the order of the model."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differences(recipe: BaseModel, before: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values are not those of ``before``, an earlier dump as JSON: the value then, the value now.

    Keys that ``before`` does not have are left out, and so are plain texts: most name files, which may have moved.
    """
    found: dict[str, tuple[Any, Any]] = {}
    now = recipe.model_dump(mode="json")
    for name, field in type(recipe).model_fields.items():
        value = getattr(recipe, name)
        if isinstance(value, BaseModel) and isinstance(before.get(name), dict):
            found |= differences(value, before[name], f"{prefix}{name}.")
        elif field.annotation is not str and name in before and before[name] != now[name]:
            found[f"{prefix}{name}"] = before[name], now[name]
    return found


def describe_recipe(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Rows ``(key, type, default, meaning)`` for documentation and ``recipe show``."""
    rows: list[tuple[str, str, str, str]] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += describe_recipe(kind, f"{prefix}{name}.")
            continue
        shown = getattr(kind, "__name__", str(kind)) if not hasattr(kind, "__args__") else str(kind)
        default = "required"
        if not field.is_required():
            default = json.dumps(field.get_default(call_default_factory=True), default=str)
        rows.append((f"{prefix}{name}", shown.replace("typing.", ""), default, field.description or ""))
    return rows


def commented_yaml(recipe: RecipePart, indent: int = 0) -> str:
    """The recipe as YAML with each key's meaning as a comment above it, to be edited by a person."""
    lines: list[str] = []
    pad = "  " * indent
    for name, field in type(recipe).model_fields.items():
        value = getattr(recipe, name)
        meaning = " ".join((field.description or "").split())
        lines += [f"{pad}# {line}" for line in textwrap.wrap(meaning, 110 - len(pad))]
        if isinstance(value, RecipePart):
            lines += [f"{pad}{name}:", commented_yaml(value, indent + 1).rstrip()]
        else:
            lines.append(f"{pad}{name}: {json.dumps(recipe.model_dump(mode='json')[name])}")
        if indent == 0:
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def recipe_pipeline(path: Path) -> str:
    """Which pipeline the recipe at ``path`` is for, read from its ``pipeline`` key.

    Raises:
        InputError: unreadable, or without that key.
    """
    try:
        values = _parse_yaml(Path(path).read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The recipe cannot be read: {getattr(error, 'strerror', None) or error}",
                         where=path) from error
    name = values.get("pipeline") if isinstance(values, dict) else None
    if not isinstance(name, str):
        raise InputError("The recipe does not say which pipeline it is for", where=path,
                         fix="Add a line such as 'pipeline: das'")
    return name


def shipped_recipe(module: str, name: str) -> Path:
    """Path of the recipe called ``name`` that the pipeline package ``module`` ships.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    folder = Path(str(files(module))) / "recipes"
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if name not in known:
        raise InputError(f"There is no recipe '{name}', neither as a file nor shipped",
                         fix=f"Shipped recipes: {', '.join(known)}; or give the path of your own")
    return known[name]
