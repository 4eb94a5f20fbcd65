"""Groundswell: archives of Earth-sensing records into models that can be trusted and deployed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundswell.core.run import RunFolder

__version__ = "0.1.0"
__all__ = ["open_run"]


def open_run(path: str | Path) -> RunFolder:
    """The run in a folder, for notebooks.

    Raises:
        InputError: there is none.
    """
    from groundswell.core.run import RunFolder

    return RunFolder.open(Path(path))
