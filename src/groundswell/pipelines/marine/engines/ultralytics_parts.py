"""marine: the one door to Ultralytics (AGPL-3.0): its networks and the parts of its loss, and nothing else of it.

Importing Ultralytics writes settings into the user's home, may look for a network, and changes the environment and how
arrays are printed. Here it is imported with a settings folder that is gone afterwards, told that it is offline and may
install nothing, and what it changed is put back. What it offers beyond networks (training, settings, its hub) is not
used.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from groundswell.core.optional import require

_QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


class Parts(NamedTuple):
    """What is taken from Ultralytics.

    Attributes:
        model: class of networks, built from a description that comes with the package.
        assigner: class that says which places of the network answer for which box.
        box_loss: class of the losses of boxes: overlap, and the distribution of the distances to the edges.
        folder: of the package.
        version: of the package.
    """

    model: Any
    assigner: Any
    box_loss: Any
    folder: Path
    version: str


@cache
def parts() -> Parts:
    """Import Ultralytics.

    Raises:
        MissingExtraError: the extra ``yolo`` is not installed.
    """
    with _contained():
        package = require("ultralytics", extra="yolo", purpose="A detector of the engine yolo")
        tasks = require("ultralytics.nn.tasks", extra="yolo", purpose="A detector of the engine yolo")
        losses = require("ultralytics.utils.loss", extra="yolo", purpose="A detector of the engine yolo")
        assigning = require("ultralytics.utils.tal", extra="yolo", purpose="A detector of the engine yolo")
        utils = require("ultralytics.utils", extra="yolo", purpose="A detector of the engine yolo")
        # In memory only: the file is in a folder that is gone in a moment.
        dict.update(utils.SETTINGS, {name: False for name, value in utils.SETTINGS.items() if isinstance(value, bool)})
    return Parts(tasks.DetectionModel, assigning.TaskAlignedAssigner, losses.BboxLoss,
                 Path(str(package.__file__)).parent, str(package.__version__))


def network(name: str, classes: int) -> tuple[Any, int]:
    """The layers of a network (``nn.Sequential``), weights by chance, and how many of them from the first on are its
    backbone.

    Each layer has ``f``, where its inputs come from (layers' numbers, -1 the one before), and ``i``, its number; the
    last layer is the head with ``forward_head``, ``dfl`` and ``stride``.

    Args:
        name: family and size, as ``yolov8n``.
        classes: how many.
    """
    family, size = name[:-1], name[-1]
    folder = {"yolov8": "v8", "yolo11": "11"}[family]
    # By its place: a name alone is looked up in the working directory first.
    described = parts().folder / "cfg" / "models" / folder / f"{family}.yaml"
    plan = {**yaml.safe_load(described.read_text("utf-8")), "nc": classes, "scale": size, "yaml_file": ""}
    with _silenced():
        layers = parts().model(plan, ch=3, nc=classes, verbose=False).model
    return layers, len(plan["backbone"])


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    """Everything that importing Ultralytics changes beyond itself is as before when the block ends."""
    environment, printing = dict(os.environ), dict[str, Any](np.get_printoptions())
    fresh = "ultralytics" not in sys.modules
    with tempfile.TemporaryDirectory(prefix="groundswell-yolo-") as folder, _silenced():
        os.environ |= {**_QUIET, "YOLO_CONFIG_DIR": folder}
        try:
            yield
        finally:
            for name in set(os.environ) - set(environment):
                del os.environ[name]
            os.environ |= environment
            if fresh:
                printing.pop("override_repr", None)
                np.set_printoptions(**printing)
                torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """It greets on standard output, through a logger that keeps the stream it was born with."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
