"""deploy: writing a trained network to one self-contained ONNX file, through the parity gate."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from groundswell.core.errors import InputError, RefusedError
from groundswell.core.files import write_bytes
from groundswell.core.optional import require
from groundswell.deploy.artifact import FORMAT, METADATA_KEY, quiet_options, sealed
from groundswell.deploy.parity import Arrays, Exportable, Parity, check_parity
from groundswell.models.recurrent import onnx_translations

OPSET = 18
"""ONNX operator set that is written."""


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        path: the file.
        exporter: ``"dynamo"`` (torch.export) or ``"trace"`` (the older one).
        parity: what the gate saw.
        refused: why an exporter tried before was not used.
    """

    path: Path
    exporter: str
    parity: Parity
    refused: dict[str, str]


def export_onnx(what: Exportable, path: Path, samples: Callable[[], Iterable[Arrays]], *,
                run: str = "") -> ExportResult:
    """Write a network, with its preprocessing, as ONNX; the first exporter whose graph passes the gate is kept.

    Args:
        what: what the task offers (:meth:`groundswell.train.task.Task.export`).
        path: the file to write.
        samples: gives batches of real inputs by name (NumPy, batch first), at least 100 samples in all; called once for
            each exporter that is tried.
        run: identifies the run, for the file's metadata.

    Raises:
        MissingExtraError: the extra ``export`` is not installed.
        InputError: the file's name does not end in .onnx, or the samples to compare on cannot be read.
        RefusedError: no exporter's graph agrees with the network; nothing is written.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise InputError("An exported model is known by a name that ends in .onnx", where=path,
                         fix="Name the file so, as model.onnx")
    require("onnxscript", extra="export", purpose="Exporting to ONNX")
    onnx = require("onnx", extra="export", purpose="Exporting to ONNX")
    runtime = require("onnxruntime", extra="export", purpose="Checking the exported file")
    refused: dict[str, str] = {}
    for exporter, write in (("dynamo", _by_export), ("trace", _by_trace)):
        try:
            model = _written(write, what, onnx)
            session = runtime.InferenceSession(model.SerializeToString(), quiet_options(runtime),
                                               providers=["CPUExecutionProvider"])
            parity = check_parity(what, session, samples)
        except RefusedError as error:
            refused[exporter] = str(error)
            continue
        except InputError:  # the windows to compare on cannot be read: no exporter's fault
            raise
        except Exception as error:  # exporters raise whatever they meet
            refused[exporter] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            continue
        facts = {"format": FORMAT, "run": run, "exporter": exporter, "parity": asdict(parity), "refused": refused,
                 "versions": _versions(), **what.metadata}
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(facts, allow_nan=False)})
        write_bytes(path, sealed(model))
        return ExportResult(path, exporter, parity, refused)
    reasons = "; ".join(f"{exporter}: {reason.rstrip('. ')}" for exporter, reason in refused.items())
    raise RefusedError(f"No exported graph agrees with the network. {reasons}", where=path, fix="Nothing was written")


def _written(write: Callable[[Exportable, Path], None], what: Exportable, onnx: Any) -> Any:
    with tempfile.TemporaryDirectory(prefix="groundswell-export-") as folder, _hushed(), torch.no_grad():
        file = Path(folder) / "model.onnx"
        write(what, file)
        return onnx.load(str(file))


def _by_export(what: Exportable, file: Path) -> None:
    free = torch.export.Dim.DYNAMIC
    shapes = {name: dict.fromkeys(what.dynamic.get(name, {}), free) for name in what.inputs}
    program = torch.onnx.export(what.module, (), kwargs=dict(what.inputs), dynamo=True, verbose=False, optimize=False,
                                opset_version=OPSET, input_names=list(what.inputs), output_names=list(what.outputs),
                                dynamic_shapes=shapes, custom_translation_table=onnx_translations())
    assert program is not None
    _simplify(program.model)
    program.save(str(file), external_data=False)


def _simplify(model: Any) -> None:
    """Fold constants and drop what is not used, in place.

    What torch does by itself also looks for patterns to rewrite, in time that grows as the square of the nodes: for a
    graph of four thousand it took two thirds of the whole export, and onnxruntime, which looks for the same, ran what
    came out no faster.
    """
    from onnx_ir import passes
    from onnx_ir.passes import common
    from onnxscript import optimizer

    common.InlinePass()(model)
    for _ in range(2):  # what is folded leaves more to fold
        optimizer.fold_constants(model)
        optimizer.remove_unused_nodes(model)
    passes.Sequential(
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)


def _by_trace(what: Exportable, file: Path) -> None:
    torch.onnx.export(what.module, tuple(what.inputs.values()), str(file), dynamo=False, verbose=False,
                      opset_version=OPSET, input_names=list(what.inputs), output_names=list(what.outputs),
                      dynamic_axes=what.dynamic)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Exporters talk at length, whole graphs included; what matters is found out by the gate."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    quiet = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(quiet, 1)  # graphs of what failed are printed from C++
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(quiet)
        logging.disable(level)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("groundswell", "torch", "onnx", "onnxscript", "onnxruntime"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
