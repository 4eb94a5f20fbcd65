"""Predicting from an exported file: without torch, and never from a file that is not what it should be."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from small_models import CHANNELS, CLASSES, SPACING_M, WINDOW, small_task, windows

from groundswell.core.errors import InputError
from groundswell.deploy.artifact import Artifact
from groundswell.deploy.export import export_onnx
from groundswell.pipelines.das.task import TaskPredictor

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(small_task("temporal_cnn", "preprocess.average_channels=3").export(), path, windows, run="runs/first")
    return path


PREDICT = """
import sys
import numpy as np
from groundswell.deploy.artifact import Artifact
from groundswell.pipelines.das.predictor import Predictor
artifact = Artifact.open(sys.argv[1])
assert isinstance(artifact, Predictor)
np.save(sys.argv[3], artifact.predict(np.load(sys.argv[2]), 10.0))
heavy = {"torch", "pandas", "scipy", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""


def test_neither_torch_nor_pandas_is_imported(exported, tmp_path):
    x = next(windows())["x"]
    np.save(tmp_path / "x.npy", x)
    subprocess.run([sys.executable, "-c", PREDICT, str(exported), str(tmp_path / "x.npy"), str(tmp_path / "p.npy")],
                   check=True)
    expected = TaskPredictor(small_task("temporal_cnn", "preprocess.average_channels=3"), "").predict(x, SPACING_M)
    assert np.abs(np.load(tmp_path / "p.npy") - expected).max() < 1e-4


def test_what_it_says_of_itself(exported):
    artifact = Artifact.open(exported)
    assert (artifact.classes, artifact.window_samples, artifact.stride_samples) == (CLASSES, WINDOW, 128)
    assert (artifact.channels, artifact.rate_hz, artifact.spacing_m) == (CHANNELS, 100.0, SPACING_M)
    assert artifact.description == "temporal_cnn exported from runs/first (model.onnx)"


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_threads_do_not_change_the_answer(exported, threads):
    x = next(windows())["x"]
    found = Artifact.open(exported, threads=threads).predict(x, 0.0)
    assert np.allclose(found, Artifact.open(exported).predict(x, 0.0), atol=1e-6)


@pytest.mark.parametrize("place", [0.001, 0.3, 0.6, 0.9, 0.9999])
def test_one_flipped_bit_is_noticed(exported, tmp_path, place):
    data = bytearray(exported.read_bytes())
    data[int(place * len(data))] ^= 4
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(InputError, match=r"damaged|not exported"):
        Artifact.open(tmp_path / "model.onnx")


@pytest.mark.parametrize("length", [0, 10, -1, -5000])
def test_truncated_and_lengthened_files_are_refused(exported, tmp_path, length):
    data = exported.read_bytes()
    for content in (data[:length], data + b"more"):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(InputError, match=r"model\.onnx"):
            Artifact.open(tmp_path / "model.onnx")


def test_other_peoples_files_are_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "other.onnx"))
    with pytest.raises(InputError, match="not exported by Groundswell"):
        Artifact.open(tmp_path / "other.onnx")
    with pytest.raises(InputError, match="cannot be read"):
        Artifact.open(tmp_path / "absent.onnx")


@pytest.mark.parametrize("shape", [(2, WINDOW), (2, WINDOW - 1, CHANNELS), (2, WINDOW, CHANNELS + 1),
                                   (2, WINDOW, 2), (2, WINDOW, CHANNELS, 1)])
def test_wrong_shapes_are_refused(exported, shape):
    with pytest.raises(InputError, match=r"takes 'x'|averages"):
        Artifact.open(exported).predict(np.zeros(shape, np.float32), SPACING_M)


def test_integers_are_taken_as_numbers(exported):
    x = (next(windows())["x"] * 100).astype(np.int16)
    artifact = Artifact.open(exported)
    assert np.array_equal(artifact.predict(x, 0.0), artifact.predict(x.astype(np.float32), 0.0))


def test_missing_input_is_named(exported):
    with pytest.raises(InputError, match="needs the input 'x'"):
        Artifact.open(exported).run({})
