"""deploy: prediction from an exported file, with onnxruntime and NumPy alone (no torch, no pandas)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.optional import require

FORMAT = "groundswell.artifact.1"
METADATA_KEY = "groundswell"
_SEAL_KEY = "groundswell.sha256"
_BLANK = "0" * 64
_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}


def sealed(model: Any) -> bytes:
    """The bytes of an ``onnx.ModelProto`` with their own checksum among its metadata."""
    entry = model.metadata_props.add()
    entry.key, entry.value = _SEAL_KEY, _BLANK
    data: bytes = model.SerializeToString()
    place = _place_of_seal(data)
    return data[:place] + hashlib.sha256(data).hexdigest().encode() + data[place + len(_BLANK) :]


def quiet_options(runtime: Any, threads: int = 1) -> Any:
    """Session options: so many threads (0: as many as onnxruntime likes); errors are raised, not logged."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _place_of_seal(data: bytes) -> int:
    """Where the 64 digits of the checksum begin, -1 if there are none."""
    key = data.rfind(_SEAL_KEY.encode())
    # Between key and value protobuf writes the value's tag and length, one byte each.
    place = key + len(_SEAL_KEY) + 2
    return place if key >= 0 and place + len(_BLANK) <= len(data) else -1


class Artifact:
    """An exported model: the graph, and what its file says about it. Made by :meth:`open`.

    Attributes:
        path: the file.
        metadata: everything the file says: pipeline, classes, rate, parity, versions, run.
    """

    def __init__(self, path: Path, session: Any, metadata: dict[str, Any]) -> None:
        self.path, self.metadata = path, metadata
        self._session = session
        self._inputs = {found.name: found for found in session.get_inputs()}
        self._outputs = [found.name for found in session.get_outputs()]

    @classmethod
    def open(cls, path: Path, *, threads: int = 1) -> Artifact:
        """Open an exported file.

        Args:
            path: a file written by :func:`groundswell.deploy.export.export_onnx`.
            threads: of the computation; 0 leaves the number to onnxruntime.

        Raises:
            InputError: missing, damaged, or made by something else.
            MissingExtraError: onnxruntime is not installed.
        """
        path = Path(path)
        runtime = require("onnxruntime", extra="export", purpose="Predicting from an exported file")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"The exported file cannot be read: {error.strerror}", where=path) from error
        place = _place_of_seal(data)
        if place < 0:
            raise InputError("This file was not exported by Groundswell, or its end is missing", where=path,
                             fix="Export the run again, with: groundswell export RUN --to onnx")
        digest = hashlib.sha256(data[:place] + _BLANK.encode() + data[place + len(_BLANK) :]).hexdigest()
        if digest.encode() != data[place : place + len(_BLANK)]:
            raise InputError("The exported file was changed or damaged after it was written", where=path,
                             fix="Export the run again, with: groundswell export RUN --to onnx")
        try:
            session = runtime.InferenceSession(data, quiet_options(runtime, threads),
                                               providers=["CPUExecutionProvider"])
            metadata = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        except Exception as error:  # onnxruntime raises classes of its own, which share only this base
            raise InputError(f"The exported file cannot be used: {error}", where=path) from error
        if metadata.get("format") != FORMAT:
            raise InputError(f"The exported file is of the format '{metadata.get('format')}', not '{FORMAT}'",
                             where=path, fix="Use the version of groundswell that wrote it, or export the run again")
        return cls(path, session, metadata)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of the graph by name; inputs are given as what the graph was written for, float32 or float64.

        Raises:
            InputError: an input is missing or has a shape that the model does not take.
        """
        given = {}
        for name, expected in self._inputs.items():
            if name not in inputs:
                raise InputError(f"The model needs the input '{name}'", where=self.path)
            value = np.ascontiguousarray(inputs[name], _TYPES.get(expected.type, np.float32))
            fits = len(expected.shape) == value.ndim and all(
                not isinstance(size, int) or size == found
                for size, found in zip(expected.shape, value.shape, strict=True))
            if not fits:
                raise InputError(f"The model takes '{name}' in the shape {tuple(expected.shape)}, not {value.shape}",
                                 where=self.path)
            given[name] = value
        return dict(zip(self._outputs, self._session.run(self._outputs, given), strict=True))

    def predict(self, x: NDArray[np.float32], spacing_m: float) -> NDArray[np.float64]:
        """Class probabilities of windows as recorded.

        Args:
            x: (batch, time, channel), at ``rate_hz``, ``window_samples`` long.
            spacing_m: channel spacing in metres, 0 if unknown.

        Returns:
            (batch, class); rows sum to 1.

        Raises:
            InputError: the shape is not one the model takes.
        """
        least = int(self.metadata.get("least_channels", 1))
        if x.ndim == 3 and x.shape[2] < least:
            raise InputError(f"The model averages {least} channels into one and is given {x.shape[2]}", where=self.path)
        spacing = np.full(len(x), spacing_m, np.float32)
        probability = self.run({"x": x, "spacing_m": spacing})["probability"].astype(np.float64)
        total: NDArray[np.float64] = probability.sum(axis=1, keepdims=True)
        return probability / total

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(self.metadata["classes"])

    @property
    def window_samples(self) -> int:
        """Length of a window in time samples."""
        return int(self.metadata["window_samples"])

    @property
    def stride_samples(self) -> int:
        """Step between windows that the model was trained with."""
        return int(self.metadata["stride_samples"])

    @property
    def rate_hz(self) -> float:
        """Sampling rate of the windows."""
        return float(self.metadata["rate_hz"])

    @property
    def channels(self) -> int | None:
        """Channels it needs, ``None`` for any number."""
        found = self.metadata["channels"]
        return None if found is None else int(found)

    @property
    def spacing_m(self) -> float:
        """Channel spacing it was trained with, 0 if unknown."""
        return float(self.metadata["spacing_m"])

    @property
    def description(self) -> str:
        """One line for people."""
        run = self.metadata.get("run") or "a run"
        return f"{self.metadata.get('model', 'model')} exported from {run} ({self.path.name})"
