"""biodiversity: a batch as bytes, in the layout of safetensors, and the client that reads it."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from groundswell.core.errors import FailureError, InputError

BATCH, IDS = "/api/training/batch", "/api/training/ids"
_DTYPES: Mapping[str, torch.dtype] = {"F32": torch.float32, "I32": torch.int32}
_MOST_HEAD = 64 << 20
_TEXTS = ("species", "image_urls", "metadata")


class Layout:
    """What a body holds: tensors end to end, little-endian, after a head that says where each one lies.

    Attributes:
        held: by name, bytes of the tensors that are at hand; they come first.
        bytes: of all tensors.
    """

    def __init__(self, texts: Mapping[str, Any]) -> None:
        self._head: dict[str, Any] = {"__metadata__": {"batch": json.dumps(texts)}}
        self.held: dict[str, memoryview] = {}
        self.bytes = 0

    @classmethod
    def of_batch(cls, batch: Mapping[str, Any]) -> Layout:
        """Of a batch on the CPU: its tensors are held, the rest becomes metadata."""
        made = cls({name: batch[name] for name in _TEXTS})
        names = {dtype: name for name, dtype in _DTYPES.items()}
        for name, value in batch.items():
            if isinstance(value, torch.Tensor):
                made.add(name, names[value.dtype], tuple(value.shape))
                made.held[name] = value.contiguous().numpy().reshape(-1).view(np.uint8).data
        return made

    def add(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """One more tensor, after the others."""
        start, self.bytes = self.bytes, self.bytes + math.prod(shape) * _DTYPES[dtype].itemsize
        self._head[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, self.bytes]}

    def head(self) -> bytes:
        """The bytes before the tensors: the length of the JSON (uint64) and the JSON, padded to a multiple of 8."""
        text = json.dumps(self._head).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


def fetch_batch(url: str, observation_ids: Sequence[str], include_vision: bool = True, include_language: bool = True,
                vision_table: str = "vision", reuse: Mapping[str, Any] | None = None,
                timeout_s: float = 120.0) -> dict[str, Any]:
    """A batch from a :class:`~groundswell.pipelines.biodiversity.endpoint.BatchServer`, as of ``get_training_batch``.

    Args:
        url: the server's address, ``http://127.0.0.1:PORT``.
        observation_ids: 1 to 1,000 ids.
        include_vision: with vision vectors.
        include_language: with language vectors.
        vision_table: table of vision vectors.
        reuse: an earlier batch of as many observations whose tensors may be overwritten.
        timeout_s: how long the server may be silent.

    Raises:
        InputError: the server refuses the request; its words. Or the address is none.
        FailureError: the server is not there, breaks off, or answers something else.
    """
    address = urlsplit(url)
    if address.scheme != "http" or not address.hostname:
        raise InputError(f"'{url}' is not the address of a server of batches", fix="Give http://127.0.0.1:PORT")
    body = json.dumps({"observation_ids": list(observation_ids), "include_vision": include_vision,
                       "include_language": include_language, "vision_table": vision_table})
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout_s)
    try:
        connection.request("POST", BATCH, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            _refuse(answer, url)
        return _batch(answer, reuse or {})
    except (OSError, http.client.HTTPException, KeyError, TypeError, ValueError) as error:
        raise FailureError(f"The server of batches failed: {error!r}", where=url,
                           fix="Look whether it still runs") from error
    finally:
        connection.close()


def _refuse(answer: http.client.HTTPResponse, url: str) -> None:
    told = json.loads(answer.read(_MOST_HEAD))
    if 400 <= answer.status < 500:
        raise InputError(str(told["error"]), where=url, fix=str(told.get("fix", "")))
    raise ValueError(f"status {answer.status}: {told['error']}")


def _batch(answer: http.client.HTTPResponse, reuse: Mapping[str, Any]) -> dict[str, Any]:
    length = int.from_bytes(_exactly(answer, 8), "little")
    if length > _MOST_HEAD:
        raise ValueError(f"a head of {length} bytes")
    head = json.loads(_exactly(answer, length))
    texts, left, at = json.loads(head.pop("__metadata__")["batch"]), answer.length, 0
    batch: dict[str, Any] = {name: texts[name] for name in _TEXTS[:2]}
    for name, entry in sorted(head.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        stop = at + math.prod(shape) * dtype.itemsize
        if entry["data_offsets"] != [at, stop] or left is None or stop > left:
            raise ValueError(f"'{name}' does not lie where it is said to")
        earlier = reuse.get(name)
        usable = isinstance(earlier, torch.Tensor) and earlier.device.type == "cpu" and earlier.is_contiguous() and (
            earlier.shape == shape and earlier.dtype == dtype)
        tensor = earlier if usable and earlier is not None else torch.empty(shape, dtype=dtype)
        _into(answer, tensor.numpy().reshape(-1).view(np.uint8).data)
        batch[name], at = tensor, stop
    batch["metadata"] = texts["metadata"]
    return batch


def _exactly(answer: http.client.HTTPResponse, count: int) -> bytes:
    data = answer.read(count)
    if len(data) != count:
        raise http.client.IncompleteRead(data, count - len(data))
    return data


def _into(answer: http.client.HTTPResponse, left: memoryview) -> None:
    while left:
        got = answer.readinto(left)
        if not got:
            raise http.client.IncompleteRead(b"", len(left))
        left = left[got:]
