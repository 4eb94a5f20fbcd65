"""marine: a plan of TensorRT engines: built on the machine that runs them, for engines serve no other.

A plan is ``plan.json`` and ``build-engines.sh`` beside the models; one engine a member, each with a name of its own, of
static batch 1, at the precision of its model, without quantisation to 8 bits, which would need images to calibrate on.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groundswell.core.errors import FailureError
from groundswell.core.files import write_json, write_text
from groundswell.pipelines.marine.deploying.bundle import MODELS, Part
from groundswell.pipelines.marine.deploying.precision import HALF

PLAN, SCRIPT, ENGINES = "plan.json", "build-engines.sh", "engines"
FORMAT = "groundswell tensorrt plan 1"
USUAL_PLACE = Path("/usr/src/tensorrt/bin/trtexec")
"""Where NVIDIA's packages put the builder."""
_SCRIPT = """\
#!/bin/sh
# Builds the TensorRT engines of this package on the machine that will run them. Engines that are newer than their
# models are left alone; one that cannot be built ends the script with an error.
set -eu
cd "$(dirname "$0")"
TRTEXEC="${TRTEXEC:-$(command -v trtexec || true)}"
if [ -z "$TRTEXEC" ] && [ -x @USUAL@ ]; then
    TRTEXEC=@USUAL@
fi
if [ -z "$TRTEXEC" ]; then
    echo "trtexec is not here: install TensorRT, or say where it is with TRTEXEC=..." >&2
    exit 2
fi
mkdir -p @ENGINES@

build() {
    model=$1
    engine=$2
    shift 2
    if [ -s "$engine" ] && [ -z "$(find "$model" -newer "$engine")" ]; then
        echo "$engine is there already"
        return
    fi
    rm -f "$engine.part"
    "$TRTEXEC" --onnx="$model" --saveEngine="$engine.part" "$@"
    if [ ! -s "$engine.part" ]; then
        echo "trtexec wrote no engine for $model" >&2
        exit 1
    fi
    mv "$engine.part" "$engine"
    echo "built $engine"
}

"""


def plan_of(parts: Sequence[Part], *, workspace_gb: float = 4.0) -> dict[str, Any]:
    """What is to be built, JSON-able: for each member its model, engine, weight and command.

    An engine has the precision that its model was kept in: one that lost too much at 16 bits is not turned to 16 here.
    """
    engines = []
    for part in parts:
        model, engine = f"{MODELS}/{part.file}", f"{ENGINES}/{Path(part.file).stem}.engine"
        options = options_of(part, workspace_gb)
        engines.append({"model": model, "engine": engine, "weight": part.weight, "precision": part.precision,
                        "input": {"name": "image", "shape": [1, 3, part.size, part.size], "type": "float32, 0 to 255"},
                        "outputs": ["boxes", "scores"], "options": options,
                        "command": ["trtexec", f"--onnx={model}", f"--saveEngine={engine}", *options]})
    return {"format": FORMAT, "workspace_mib": round(workspace_gb * 1024), "max_batch": 1,
            "int8": False, "dla_core": -1, "engines": engines,
            "note": "Engines are built on the target and serve no other machine. TensorRT 8.6 or newer reads these "
                    "models (operator set 18, GridSample)."}


def options_of(part: Part, workspace_gb: float) -> list[str]:
    """What is said to trtexec beside the two files."""
    return [f"--shapes=image:1x3x{part.size}x{part.size}", f"--memPoolSize=workspace:{round(workspace_gb * 1024)}",
            *(["--fp16"] if part.precision == HALF else []), "--skipInference"]


def write_plan(parts: Sequence[Part], folder: Path, *, workspace_gb: float = 4.0) -> Path:
    """Write plan and script into the folder of a package, whose models are in ``models``; the script's path."""
    plan = plan_of(parts, workspace_gb=workspace_gb)
    write_json(folder / PLAN, plan)
    calls = "".join(f"build {shlex.join([one['model'], one['engine'], *one['options']])}\n" for one in plan["engines"])
    script = folder / SCRIPT
    write_text(script, _SCRIPT.replace("@USUAL@", str(USUAL_PLACE)).replace("@ENGINES@", ENGINES) + calls)
    script.chmod(0o755)
    return script


def available() -> str:
    """The builder on this machine, empty where there is none."""
    named = os.environ.get("TRTEXEC", "")
    return named or shutil.which("trtexec") or (str(USUAL_PLACE) if os.access(USUAL_PLACE, os.X_OK) else "")


def build_engines(folder: Path) -> list[str]:
    """Build the engines of a written plan where TensorRT is; what came of it, in sentences.

    Raises:
        FailureError: the builder fails.
    """
    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    if not available():
        return [f"TensorRT is not here: {len(plan['engines'])} engine(s) not built. On the target: sh {SCRIPT}"]
    done = subprocess.run(["sh", SCRIPT], cwd=folder, capture_output=True, text=True, check=False,
                          env={**os.environ, "TRTEXEC": available()})
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()
        raise FailureError(f"trtexec failed: {last[-1] if last else 'no word'}", where=folder / SCRIPT,
                           fix="Run the script by hand to see all it says")
    return [f"Built {folder / one['engine']} on this machine; it serves no other." for one in plan["engines"]]
