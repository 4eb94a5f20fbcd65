"""marine: a package for a station's computer, a Jetson or another: models, service, health check, installer.

The package carries what it runs; the installer asks the network only for Python's libraries, and only where no Python
that has them is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from groundswell.core.files import write_text
from groundswell.core.recipe import commented_yaml
from groundswell.pipelines.marine.deploying.application import copy_application
from groundswell.pipelines.marine.deploying.bundle import HEALTH, MODELS, SUMS, Part, checksums, write_health
from groundswell.pipelines.marine.deploying.tensorrt import write_plan
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe

CONFIG, UNIT, INSTALLER, CHECK = "config/track.yaml", "groundswell-marine.service.in", "install.sh", "health-check.sh"


def template(name: str) -> str:
    """A file of this package's ``templates``."""
    return files("groundswell.pipelines.marine").joinpath("templates", name).read_text(encoding="utf-8")


def write_jetson(folder: Path, parts: Sequence[Part], *, simulated: bool,
                 workspace_gb: float = 4.0) -> list[str]:
    """Write the rest of a package around ``folder/models``; what there is to say of it.

    Args:
        folder: of the package; its models are there already.
        parts: the models.
        simulated: the detector was trained on simulated images.
        workspace_gb: memory of TensorRT while it builds.
    """
    copy_application(folder / "app")
    write_health(folder / MODELS, folder / HEALTH)
    write_plan(parts, folder, workspace_gb=workspace_gb)
    (folder / "config").mkdir()
    write_text(folder / CONFIG, commented_yaml(TrackRecipe()))
    for name, mode in ((UNIT, 0o644), (INSTALLER, 0o755), (CHECK, 0o755)):
        write_text(folder / name, template(f"jetson-{name}"))
        (folder / name).chmod(mode)
    note = "The detector was trained on SIMULATED images: of real recordings it says nothing.\n\n" if simulated else ""
    write_text(folder / "README.md", template("jetson-README.md").replace("@NOTE@\n\n", note))
    write_text(folder / SUMS, checksums(folder))
    return ["Next, on the station: sh install.sh --prefix /opt/groundswell-marine --input RECORDINGS --out RESULTS "
            "(with --dry-run it only says what it would do)"]
