"""marine: the program itself in a package: its source, and what it needs to predict, by name and version."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import groundswell

NEEDED = ("matplotlib", "numpy", "onnxruntime", "opencv-python-headless", "pandas", "pyarrow", "pydantic", "pyyaml",
          "rich", "scipy", "torch")
"""Distributions that predicting, watching and serving import; rich only at a terminal."""
PACKAGE = "groundswell"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "templates")


def copy_application(folder: Path) -> None:
    """Copy the program's source to ``folder/groundswell``, with a ``requirements.txt`` beside it of the versions that
    it was packed with."""
    shutil.copytree(Path(groundswell.__file__).parent, folder / PACKAGE, ignore=_LEFT_OUT)
    (folder / "requirements.txt").write_text(requirements(), encoding="utf-8")


def requirements() -> str:
    """Lines for pip: what is needed, at the versions installed here."""
    lines = ["# What finding animals takes, at the versions that the package was made with."]
    for name in NEEDED:
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        lines.append(f"{name}=={found.partition('+')[0]}")
    return "\n".join(lines) + "\n"
