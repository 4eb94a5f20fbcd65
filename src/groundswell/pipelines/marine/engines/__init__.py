"""marine: the engines by name. Each is a module of this package with a function ``build``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from groundswell.core.errors import InputError

if TYPE_CHECKING:
    from groundswell.pipelines.marine.detector import Engine

NAMES: dict[str, tuple[str, ...]] = {
    "rtdetr": tuple(f"rtdetrv2_{size}" for size in ("nano", "r18", "r34", "r50", "r101")),
    "yolo": tuple(f"{family}{size}" for family in ("yolov8", "yolo11") for size in "nsmlx"),
}
"""Networks of each engine."""


def names(engine: str) -> tuple[str, ...]:
    """The networks of an engine.

    Raises:
        InputError: there is no such engine.
    """
    if engine not in NAMES:
        raise InputError(f"There is no engine '{engine}'", where="model.engine", fix=f"Choose {' or '.join(NAMES)}")
    return NAMES[engine]


def build_detector(engine: str, name: str, classes: int, **options: Any) -> Engine:
    """A detector with weights by chance (torch's own generator: seed it before).

    Args:
        engine: ``rtdetr`` or ``yolo``.
        name: of the network; see :func:`names`.
        classes: how many.
        options: of the engine's ``build(name, classes, **options)``.

    Raises:
        InputError: there is no such network, or no class.
        MissingExtraError: the engine's extra is not installed.
    """
    if name not in names(engine):
        raise InputError(f"The engine {engine} has no network '{name}'", where="model.name",
                         fix=f"Choose one of: {', '.join(names(engine))}")
    if classes < 1:
        raise InputError(f"A detector of {classes} classes cannot be", where="classes", fix="Name one class at least")
    module = importlib.import_module(f"groundswell.pipelines.marine.engines.{engine}")
    detector: Engine = module.build(name, classes, **options)
    return detector
