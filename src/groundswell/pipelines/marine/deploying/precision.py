"""marine: an exported file at half precision. Inputs and outputs stay float32, so that it is used like the other."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import write_bytes
from groundswell.core.optional import require
from groundswell.deploy.artifact import METADATA_KEY, Artifact, sealed

HALF, SINGLE = "fp16", "fp32"


def precision_of(artifact: Artifact) -> str:
    """fp16 or fp32."""
    return str(artifact.metadata.get("precision", SINGLE))


def write_half(path: Path, out: Path) -> None:
    """Write a file's network with weights and arithmetic of 16 bits, about half as large.

    The conversion is onnxruntime's (``onnxruntime.transformers.float16``): operators that lose too much, such as the
    choice of the surest places, go on in float32. What the parity gate found is true of the file of 32 bits, and is
    kept among the facts as that.

    Args:
        path: written by :func:`groundswell.deploy.export.export_onnx`.
        out: the file to write; replaces what is there.

    Raises:
        InputError: ``path`` is damaged, or of 16 bits already.
        MissingExtraError: the extra ``export`` is not installed.
    """
    facts = Artifact.open(path).metadata  # also sees that the file is whole
    if facts.get("precision", SINGLE) == HALF:
        raise InputError("This file is of half precision already", where=path)
    onnx = require("onnx", extra="export", purpose="Writing files of half precision")
    float16 = require("onnxruntime.transformers.float16", extra="export", purpose="Writing files of half precision")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of each weight too small for 16 bits; what it costs is measured afterwards
        model = float16.convert_float_to_float16(onnx.load(str(path)), keep_io_types=True)
    _tidy(model.graph)
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps({**facts, "precision": HALF}, allow_nan=False)
    write_bytes(out, sealed(model))


def _tidy(graph: Any) -> None:
    """Drop casts that the conversion writes twice where two nodes share an input, and put nodes in order: it appends
    its casts at the end, which onnxruntime forgives and others do not."""
    sorting = require("onnxruntime.transformers.onnx_model", extra="export", purpose="Writing files of half precision")
    seen: set[str] = set()
    kept = []
    for node in graph.node:
        if node.op_type == "Cast" and node.output[0] in seen:
            continue
        seen.update(node.output)
        kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    sorting.OnnxModel.graph_topological_sort(graph)
