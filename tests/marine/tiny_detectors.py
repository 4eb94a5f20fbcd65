"""Small exported detectors for tests: made by hand, so that no network has to be exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from groundswell.core.files import write_bytes
from groundswell.deploy.artifact import FORMAT, METADATA_KEY, sealed
from groundswell.pipelines.marine.detecting import write_ensemble
from groundswell.pipelines.marine.recipe import FuseRecipe, TtaRecipe

SIZE = 64
CLASSES = ("fish", "shark")


def tiny_onnx(path: Path, *, seed: int = 0, size: int = SIZE, classes: tuple[str, ...] = CLASSES, loud: float = 1.0,
              **facts) -> Path:
    """A detector with one box for each cell of 32 pixels; ``loud`` scales how far its scores are from a half."""
    chance, c = np.random.default_rng(seed), len(classes)
    weight = (chance.normal(0, 0.3 / 32, (4 + c, 3, 32, 32)) / 255).astype(np.float32)
    weight[4:] *= loud
    constants = {"weight": weight, "scales": np.ones(4, np.float32), "flat": np.array([0, 4 + c, -1], np.int64),
                 "parts": np.array([2, 2, c], np.int64), "half": np.float32(0.5)}
    node = helper.make_node
    nodes = [
        # Two nodes that share their scales: the conversion to 16 bits has to keep them apart.
        node("Resize", ["image", "", "scales"], ["one"], "first", mode="nearest"),
        node("Resize", ["one", "", "scales"], ["two"], "second", mode="nearest"),
        node("Conv", ["two", "weight"], ["cells"], "cells", strides=[32, 32]),
        node("Reshape", ["cells", "flat"], ["rows"], "rows"),
        node("Transpose", ["rows"], ["turned"], "turned", perm=[0, 2, 1]),
        node("Sigmoid", ["turned"], ["said"], "said"),
        node("Split", ["said", "parts"], ["corner", "edge", "scores"], "split", axis=2),
        node("Mul", ["corner", "half"], ["low"], "low"), node("Mul", ["edge", "half"], ["long"], "long"),
        node("Add", ["low", "long"], ["high"], "high"), node("Concat", ["low", "high"], ["boxes"], "boxes", axis=2)]
    places = (size // 32) ** 2
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", places, 4]),
         helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", places, c])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    told = {"format": FORMAT, "pipeline": "marine", "model": "tiny", "engine": "tiny", "classes": list(classes),
            "species": [-1] * c, "priority": ["critical", *[""] * (c - 1)], "size": size, "suppress": True, "iou": 0.7,
            "most": 300, "confidence": 0.25, "prepare": False, "simulated": True, **facts}
    helper.set_model_props(model, {METADATA_KEY: json.dumps(told)})
    write_bytes(path, sealed(model))
    return path


def tiny_ensemble(folder: Path, *, members: int = 2, tta: TtaRecipe | None = None, thresholds=(0.25, 0.25)) -> Path:
    """A folder with an ensemble of such files."""
    for k in range(members):
        tiny_onnx(folder / f"member{k}.onnx", seed=k)
    write_ensemble(folder / "ensemble.json", members=[(f"member{k}.onnx", 1.0 + k) for k in range(members)],
                   fuse=FuseRecipe(), tta=tta, calibrator=None, thresholds=thresholds)
    return folder
