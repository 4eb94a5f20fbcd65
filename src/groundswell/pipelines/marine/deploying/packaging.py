"""marine: packing a model for a machine: a folder, or an archive of it, with checksums, tried out before it is kept."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_folder, atomic_path, read_json, write_json, write_text
from groundswell.pipelines.marine.deploying.bundle import MODELS, REPORT, SUMS, checksums, copy_models, ensemble_of
from groundswell.pipelines.marine.deploying.container import write_container
from groundswell.pipelines.marine.deploying.jetson import write_jetson
from groundswell.pipelines.marine.deploying.latency import measure
from groundswell.pipelines.marine.deploying.tensorrt import PLAN, SCRIPT, build_engines, write_plan
from groundswell.pipelines.marine.detecting import open_detector
from groundswell.pipelines.marine.recipe import ExportRecipe

TARGETS = ("jetson", "container", "tensorrt")
ARCHIVES = (".tar.gz", ".tgz")


def package(model: Path, to: str, out: Path) -> list[str]:
    """Pack a model; what came of it, in sentences.

    Args:
        model: folder with ``ensemble.json`` and .onnx files, a chain's folder, or one .onnx file.
        to: ``jetson`` (service, installer, health check), ``container`` (HTTP service) or ``tensorrt`` (plan alone).
        out: new folder, or a name that ends in .tar.gz.

    Raises:
        InputError: no such target, no exported model, or something is at ``out``; nothing is written.
        FailureError: TensorRT is here and fails.
    """
    if to not in TARGETS:
        raise InputError(f"There is no package for '{to}'", where="--to", fix=f"Choose one of: {', '.join(TARGETS)}")
    out = Path(out)
    with _place(out) as folder:
        parts = copy_models(Path(model), folder / MODELS)
        detector = open_detector(folder / MODELS)
        lines: list[str] = []
        if to == "tensorrt":
            write_plan(parts, folder, workspace_gb=_workspace_gb(Path(model)))
            lines += [f"{PLAN} and {SCRIPT}: {len(parts)} engine(s), to be built on the machine that runs them."]
            lines += build_engines(folder)
            write_text(folder / SUMS, checksums(folder))
        else:
            found = measure(detector, images=10, warm=2)
            write_json(folder / "latency.json", found.to_dict())
            lines.append(found.sentence())
            if to == "jetson":
                lines += write_jetson(folder, parts, simulated=detector.simulated,
                                      workspace_gb=_workspace_gb(Path(model)))
            else:
                lines += write_container(folder, simulated=detector.simulated)
    kind = "archive" if out.name.endswith(ARCHIVES) else "folder"
    warning = ["The detector was trained on simulated images: of real ones it says nothing."] if detector.simulated \
        else []
    named = ", ".join(f"{part.file} ({part.precision})" for part in parts)
    return [f"Wrote the {kind} {out}: {named}, for {to}.", *lines, *warning]


def _workspace_gb(model: Path) -> float:
    """What the recipe of the export says, or its default."""
    report = (model if model.suffix == ".onnx" else ensemble_of(model)).parent / REPORT
    facts = read_json(report) if report.is_file() else {}
    return float(facts.get("workspace_gb", ExportRecipe().workspace_gb))


@contextmanager
def _place(out: Path) -> Iterator[Path]:
    """A folder that becomes ``out``, as a folder or as an archive."""
    if not out.name.endswith(ARCHIVES):
        with atomic_folder(out) as folder:
            yield folder
        return
    if out.exists():
        raise InputError("There is something here already", where=out, fix="Name another file, or remove this one")
    with tempfile.TemporaryDirectory(prefix="groundswell-package-") as scratch:
        top = out.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz") or "package"
        folder = Path(scratch) / top
        folder.mkdir()
        yield folder
        with atomic_path(out) as temporary, tarfile.open(temporary, "w:gz", compresslevel=6) as archive:
            archive.add(folder, arcname=top, filter=_anonymous)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
