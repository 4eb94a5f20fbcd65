"""core: where a number came from: versions, machine, data fingerprints and the state of the code."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from groundswell import __version__

PACKAGES = ("torch", "torchvision", "lightning-fabric", "numpy", "scipy", "pandas", "pyarrow", "h5py", "scikit-learn",
            "safetensors", "onnx", "onnxruntime", "obspy", "aeon")


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can change a result."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout that holds ``folder`` and whether it has uncommitted changes; None outside of one."""

    def ask(*words: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10,
                              check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return None


def provenance(**facts: Any) -> dict[str, Any]:
    """Everything needed to say how a run came to be; ``facts`` are added (fingerprints, command)."""
    return {
        "groundswell": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "packages": package_versions(),
        "code": git_state(Path(__file__).parent),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        **facts,
    }
