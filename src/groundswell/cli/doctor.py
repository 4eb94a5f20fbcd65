"""cli: what this machine has, and what is missing for which pipeline."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from groundswell.core.optional import available
from groundswell.core.registry import discover

EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "das": (("obspy", "aeon", "defusedxml"),
            "miniSEED records, catalogues in QuakeML, the MiniRocket rival; vendor HDF5, TDMS and SEG-Y need no extra"),
    "geomag": (("aeon", "obspy", "defusedxml"),
               "the MiniRocket rival, earthquake catalogues in QuakeML, station metadata"),
    "biodiversity": (("geopy", "h3", "healpix", "huggingface_hub"),
                     "the published split, cells of H3 and HEALPix, downloading the published data set"),
    "symae": (("obspy", "healpix", "defusedxml", "plotly"),
              "SAC, miniSEED, travel times, catalogues, pixels of the focal sphere, the interactive page of sources"),
    "marine": (("cv2", "transformers", "lightly", "defusedxml", "faster_coco_eval", "fathomnet"),
               "images and videos, the detectors of the engine rtdetr, pretraining, downloads from FathomNet"),
    "yolo": (("ultralytics",),
             "the detectors of the engine yolo; under the AGPL-3.0, as is what is made with them, and so not in 'all'"),
    "cluster": (("dask", "distributed", "dask_jobqueue"), "running many fits through Dask, here or on a cluster"),
    "export": (("onnx", "onnxscript", "onnxruntime"), "writing models as ONNX and predicting from them without torch"),
    "docs": (("sphinx", "pydata_sphinx_theme", "myst_parser", "sphinx_gallery"), "building the documentation"),
    "dev": (("pytest", "ruff", "mypy", "hypothesis", "importlinter", "dascore"), "the test suite and the checks"),
}


@dataclass(frozen=True)
class Fact:
    """One line of the doctor's findings; ``state`` is ok, note or missing."""

    name: str
    state: str
    value: str


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _software() -> list[Fact]:
    facts = [Fact("Python", "ok", platform.python_version())]
    for name in ("torch", "torchvision", "numpy"):
        found = _version(name)
        facts.append(Fact(name, "ok" if found else "missing", found or "not installed; run 'make install'"))
    if available("h5py"):
        import h5py

        facts.append(Fact("HDF5", "ok", f"{h5py.version.hdf5_version} (h5py {h5py.__version__})"))
    else:
        facts.append(Fact("HDF5", "missing", "h5py is not installed; run 'make install'"))
    return facts


def _machine(folder: Path) -> list[Fact]:
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    disk = shutil.disk_usage(folder)
    low = disk.free < 10 * 2**30
    return [
        Fact("CPU", "ok", f"{platform.machine()}, {cores} core(s) usable"),
        Fact("Memory", "ok", f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free"),
        _gpu(),
        Fact("Disk", "note" if low else "ok", f"{disk.free / 2**30:.1f} GiB free at {folder.resolve()}"),
    ]


def _gpu() -> Fact:
    if not available("torch"):
        return Fact("GPU", "note", "not looked for: torch is not installed")
    import torch

    if not torch.cuda.is_available():
        return Fact("GPU", "note", "none; everything runs on the CPU")
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return Fact("GPU", "ok", "; ".join(names))


def _extras() -> list[Fact]:
    facts = []
    for extra, (modules, gives) in EXTRAS.items():
        users = [pipeline.name for pipeline in discover().values() if extra in pipeline.extras]
        gives += f" (pipelines: {', '.join(users)})" if users else ""
        absent = [m for m in modules if not available(m)]
        if absent:
            facts.append(Fact(f"extra {extra}", "missing", f"{', '.join(absent)} not installed; would enable {gives}: "
                                                           f"pip install 'groundswell[{extra}]'"))
        else:
            facts.append(Fact(f"extra {extra}", "ok", gives))
    return facts


def examine(folder: Path = Path()) -> list[Fact]:
    """All findings, in the order they are shown."""
    return [*_software(), *_machine(folder), *_extras()]


def as_json(facts: list[Fact]) -> list[dict[str, Any]]:
    """The findings for ``--json``."""
    return [{"name": f.name, "state": f.state, "value": f.value} for f in facts]
