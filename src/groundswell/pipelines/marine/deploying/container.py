"""marine: a recipe for a container that serves predictions: Containerfile, Cloud Run, Vertex AI."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from groundswell.core.files import write_text
from groundswell.pipelines.marine.deploying.application import copy_application
from groundswell.pipelines.marine.deploying.bundle import HEALTH, MODELS, SUMS, checksums, write_health
from groundswell.pipelines.marine.deploying.jetson import template

CONTAINERFILE = "Containerfile"
TAG = "1"
ENGINES = ("podman", "docker")


def write_container(folder: Path, *, simulated: bool) -> list[str]:
    """Write the rest of a recipe around ``folder/models``; what there is to say of it."""
    copy_application(folder / "app")
    write_health(folder / MODELS, folder / HEALTH)
    for name in (CONTAINERFILE, "cloudrun.yaml", "vertex.yaml"):
        write_text(folder / name, template(f"container-{name}"))
    note = "The detector was trained on SIMULATED images: of real images it says nothing.\n\n" if simulated else ""
    readme = template("container-README.md").replace("@NOTE@\n\n", note).replace("@TAG@", TAG)
    write_text(folder / "README.md", readme)
    write_text(folder / SUMS, checksums(folder))
    problems = lint(folder)
    engine = container_engine()
    built = (f"Not built: that takes the network. Build it with: {engine} build -t groundswell-marine:{TAG} -f "
             f"{CONTAINERFILE} ." if engine else "Not built: no container engine here.")
    return [*(f"The recipe is wrong: {problem}." for problem in problems), built]


def container_engine() -> str:
    """A container engine that answers on this machine, empty where there is none."""
    for name in ENGINES:
        if shutil.which(name):
            try:
                done = subprocess.run([name, "info"], capture_output=True, timeout=20, check=False)
            except (OSError, subprocess.TimeoutExpired):
                continue
            if done.returncode == 0:
                return name
    return ""


def instructions(text: str) -> list[tuple[str, str]]:
    """Instructions of a Containerfile with what follows them; comments gone, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            found.append((name.upper(), " ".join(rest.split())))
    return found


def lint(folder: Path) -> list[str]:
    """What is wrong with a recipe: sources that are not there, images without a version, root, no entry point."""
    steps = instructions((folder / CONTAINERFILE).read_text(encoding="utf-8"))
    problems = [] if steps and steps[0][0] in ("FROM", "ARG") else ["it does not begin with FROM"]
    for name, rest in steps:
        if name == "FROM":
            image = rest.split()[0]
            tag = image.rpartition("/")[2].partition(":")[2]
            if "@sha256:" not in image and (not tag or tag == "latest"):
                problems.append(f"{image} has no version")
        if name in ("COPY", "ADD"):
            for source in [part for part in rest.split() if not part.startswith("--")][:-1]:
                path = (folder / source).resolve()
                if not path.is_relative_to(folder.resolve()) or not path.exists():
                    problems.append(f"{name} {source}: it is not there")
        if name == "ADD" and "://" in rest:
            problems.append("ADD fetches from the network")
    users = [rest for name, rest in steps if name == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        problems.append("it runs as root")
    return problems + _entry(steps)


def _entry(steps: list[tuple[str, str]]) -> list[str]:
    entries = [rest for name, rest in steps if name == "ENTRYPOINT"]
    if not entries:
        return ["it has no entry point"]
    try:
        words = json.loads(entries[-1])
    except ValueError:
        words = None
    return [] if isinstance(words, list) and all(isinstance(word, str) for word in words) else [
        "its entry point is not written as a list of words"]
