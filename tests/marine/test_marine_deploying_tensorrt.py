"""Engines: one a member under its own name, built where they run; the plan is what the builder is really told."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from tiny_detectors import tiny_ensemble, tiny_onnx

from groundswell.core.errors import FailureError, InputError
from groundswell.pipelines.marine.deploying import tensorrt
from groundswell.pipelines.marine.deploying.packaging import package
from groundswell.pipelines.marine.deploying.precision import write_half

BUILDER = """#!/bin/sh
for word in "$@"; do
    case $word in --saveEngine=*) engine=${word#--saveEngine=} ;; esac
done
echo "$@" >>"$LOG"
%s
"""


@pytest.fixture
def builder(tmp_path, monkeypatch):
    """Something that stands in for trtexec, and writes down what it is told."""
    def made(does='echo engine >"$engine"'):
        path = tmp_path / "trtexec"
        path.write_text(BUILDER % does)
        path.chmod(0o755)
        monkeypatch.setenv("TRTEXEC", str(path))
        monkeypatch.setenv("LOG", str(tmp_path / "log"))
        return tmp_path / "log"

    return made


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    monkeypatch.delenv("TRTEXEC", raising=False)
    monkeypatch.setattr(tensorrt, "USUAL_PLACE", tmp_path / "none")
    monkeypatch.setattr(tensorrt.shutil, "which", lambda name: None)


def test_without_tensorrt_there_is_a_plan_and_it_is_said(tmp_path, nobody) -> None:
    tiny_ensemble(tmp_path / "export", members=3)
    write_half(tmp_path / "export" / "member1.onnx", tmp_path / "export" / "member1.onnx")
    lines = package(tmp_path / "export", "tensorrt", tmp_path / "plan")
    assert any("3 engine(s) not built" in line for line in lines)
    plan = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert len({one["engine"] for one in plan["engines"]}) == 3
    assert plan["int8"] is False and plan["max_batch"] == 1 and plan["dla_core"] == -1
    assert ["--fp16" in one["command"] for one in plan["engines"]] == [False, True, False]
    (tmp_path / "export" / "export.json").write_text('{"workspace_gb": 2.5}')
    package(tmp_path / "export", "tensorrt", tmp_path / "plan2")
    assert json.loads((tmp_path / "plan2" / "plan.json").read_text())["workspace_mib"] == 2560
    for one in plan["engines"]:
        assert "--shapes=image:1x3x64x64" in one["command"] and "--memPoolSize=workspace:4096" in one["command"]
        assert (tmp_path / "plan" / one["model"]).is_file() and not (tmp_path / "plan" / one["engine"]).exists()
    script = subprocess.run(["/bin/sh", "build-engines.sh"], cwd=tmp_path / "plan", capture_output=True, text=True,
                            env={"PATH": "/usr/bin:/bin"}, check=False)
    assert script.returncode == 2 and "trtexec is not here" in script.stderr


def test_where_tensorrt_is_each_member_gets_its_own_engine(tmp_path, builder) -> None:
    log = builder()
    tiny_ensemble(tmp_path / "export")
    lines = package(tmp_path / "export", "tensorrt", tmp_path / "plan")
    assert sum("Built" in line for line in lines) == 2
    engines = sorted(file.name for file in (tmp_path / "plan" / "engines").iterdir())
    assert engines == ["member0.engine", "member1.engine"]
    plan = json.loads((tmp_path / "plan" / "plan.json").read_text())
    told = log.read_text().splitlines()
    for one, words in zip(plan["engines"], told, strict=True):
        assert words.replace(".part", "").split() == one["command"][1:]
    tensorrt.build_engines(tmp_path / "plan")
    assert len(log.read_text().splitlines()) == 2  # what is newer than its model is left alone
    os.utime(tmp_path / "plan" / "models" / "member1.onnx", (4e9, 4e9))
    tensorrt.build_engines(tmp_path / "plan")
    assert len(log.read_text().splitlines()) == 3


@pytest.mark.parametrize("does", ["echo out of memory >&2; exit 1", "true"])
def test_an_engine_that_is_not_built_is_a_failure(tmp_path, builder, does) -> None:
    builder(does)
    tiny_ensemble(tmp_path / "export")
    with pytest.raises(FailureError, match=r"out of memory|wrote no engine"):
        package(tmp_path / "export", "tensorrt", tmp_path / "plan")
    assert not (tmp_path / "plan").exists()


def test_what_is_no_exported_model_is_not_packed(tmp_path) -> None:
    for model in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(InputError):
            package(model, "tensorrt", tmp_path / "out")
    with pytest.raises(InputError, match="no package for"):
        package(tiny_onnx(tmp_path / "a.onnx"), "phone", tmp_path / "out")
    tiny_ensemble(tmp_path / "bad", members=1)
    facts = json.loads((tmp_path / "bad" / "ensemble.json").read_text())
    for name in ("../a.onnx", "run"):
        facts["members"][0]["model"] = name
        (tmp_path / "bad" / "ensemble.json").write_text(json.dumps(facts))
        with pytest.raises(InputError):
            package(tmp_path / "bad", "tensorrt", tmp_path / "out")
    assert not (tmp_path / "out").exists()
