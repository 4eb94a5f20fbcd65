"""Faults 14 to 16: records that lie elsewhere, were never written or do not fit are all named before a training."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
from survivors import Command


def spoil(archive: Path) -> dict[str, str]:
    """Five records that cannot be used, each for a reason of its own; file name and what must be said of it."""
    files = sorted(archive.glob("*.h5"))[:5]

    def remade(path: Path, **creation: object) -> None:
        with h5py.File(path, "a") as file:
            old = file["sr/data"]
            shape, attributes = old.shape, dict(old.attrs)
            del file["sr/data"]
            if "layout" in creation:
                new = file.create_virtual_dataset("sr/data", creation["layout"])
            else:
                new = file.create_dataset("sr/data", shape, "float32", **creation)
            new.attrs.update(attributes)

    with h5py.File(files[0]) as file:
        shape = file["sr/data"].shape
    layout = h5py.VirtualLayout(shape, "float32")
    layout[...] = h5py.VirtualSource("absent.h5", "data", shape)
    remade(files[0], layout=layout)
    secret = archive.parent / "secret.bin"
    np.zeros(shape, "float32").tofile(secret)
    remade(files[1], external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    remade(files[2])
    remade(files[4], chunks=(max(1, shape[0] // 4), shape[1]))
    with h5py.File(files[4], "a") as file:
        file["sr/data"][:1] = 1
    content = files[3].read_bytes()
    files[3].write_bytes(content[:len(content) // 2])
    return {files[0].name: "absent.h5", files[1].name: "stored in another file",
            files[2].name: "nothing was ever written",
            files[3].name: "truncated", files[4].name: "chunks were never written"}


def test_one_report_names_every_record_that_cannot_be_used(place: Path, tmp_path: Path) -> None:
    archive = Path(shutil.copytree(place / "archive", tmp_path / "archive"))
    wanted = spoil(archive)
    command = Command(tmp_path / "said", "das", "train", place / "recipe.yaml", "--set", f"data.folder={archive}",
                      "--out", tmp_path / "run", "--dry-run")
    command.end()
    for name, reason in wanted.items():
        lines = [line for line in command.said.splitlines() if name in line]
        assert any(reason in line for line in lines), (name, command.said)
    assert not (tmp_path / "run").exists()
