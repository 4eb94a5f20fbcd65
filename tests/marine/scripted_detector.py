"""A detector that answers as told, and one so small that it learns within seconds; for tests of choosing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from groundswell.pipelines.marine.images import ImageSet, ImageWriter
from groundswell.pipelines.marine.selecting.scoring import Looker
from groundswell.pipelines.marine.simulate.simulating import read_truth

SIZE = 64
CLASSES = ("lionfish", "shark", "sea turtle")
IDS = (0, 29, 30)
Found = Sequence[tuple[tuple[float, float, float, float], Sequence[float]]]
"""Boxes in pixels with the score of each class."""


def pool_of(path: Path, count: int, *, clips: int = 4, annotated: Sequence[int] = (), **facts: Any) -> ImageSet:
    """Images whose green says which one it is; their left half is blue, so that a mirrored one is known, and each has
    its own pattern, so that no two look alike."""
    with ImageWriter(path, classes=CLASSES, species=IDS, suffix=".png", **facts) as writer:
        for k in range(count):
            image = np.zeros((SIZE, SIZE, 3), np.uint8)
            pattern = np.random.default_rng(k).permutation(np.repeat([160, 240], 32)).reshape(8, 8)  # 200 on average
            image[..., 0], image[..., 1], image[:, :SIZE // 2, 2] = pattern.repeat(8, 0).repeat(8, 1), 5 * k, 200
            writer.add(f"image{k:02d}", image, clip=f"clip{k % clips}", annotated=k in annotated)
    return writer.set


class Scripted:
    """Answers by number of the image: ``plain``, and ``turned`` or ``dark`` where the view is mirrored or darkened."""

    def __init__(self, plain: Sequence[Found], turned: Sequence[Found] | None = None,
                 dark: Sequence[Found] | None = None, features: Sequence[Sequence[float]] | None = None) -> None:
        self.plain, self.dark = plain, dark or plain
        self.turned = turned or [[((SIZE - right, top, SIZE - left, bottom), scores)
                                  for (left, top, right, bottom), scores in found] for found in plain]
        self.vectors = np.asarray(features if features is not None else np.eye(len(plain)) * 10, np.float32)
        self.looked: list[int] = []

    def raw(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        most = max(1, max(len(found) for found in (*self.plain, *self.turned, *self.dark)))
        boxes, scores = (np.zeros((len(batch), most, last), np.float32) for last in (4, len(CLASSES)))
        for row, image in enumerate(batch):
            number, light = self.number(image), float(image[0].mean())
            plain, turned = light >= 180, image[2, 0, 0] < image[2, 0, -1]
            if plain and not turned:
                self.looked.append(number)
            answers = self.turned if turned else self.plain if plain else self.dark
            for k, (box, score) in enumerate(answers[number]):
                boxes[row, k], scores[row, k] = np.asarray(box) / SIZE, score
        return boxes, scores

    def features(self, batch: np.ndarray) -> np.ndarray:
        return self.vectors[[self.number(image) for image in batch]]

    @staticmethod
    def number(image: np.ndarray) -> int:
        return round(float(image[1].mean()) / float(image[0].mean()) * 200 / 5)

    def looker(self, **facts: Any) -> Looker:
        known: dict[str, Any] = {"classes": CLASSES, "critical": np.array([True, False, False]),
                                 "rare": np.array([0.1, 0.1, 1.0]), "size": SIZE, "overlap": 0.7, "most": 300,
                                 "identity": "scripted", "batch": 4, "raw": self.raw, "features": self.features}
        return Looker(**(known | facts))


class Tiny(nn.Module):
    """A detector of 50,000 weights: one box and the score of each class for every 8 pixels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, 16, 32, 48)
        self.body = nn.Sequential(*[nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
                                    for a, b in pairwise(widths)],
                                  nn.Conv2d(48, 64, 3, 1, 1), nn.BatchNorm2d(64), nn.ReLU())
        self.classes, self.sides = nn.Conv2d(64, classes, 1), nn.Conv2d(64, 4, 1)
        nn.init.constant_(self.classes.bias, -3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (b, 64, h, w), logits (b, classes, h, w), distances to the four sides in pixels (b, 4, h, w)."""
        seen = self.body(x)
        return seen, self.classes(seen), 8 * nn.functional.softplus(self.sides(seen))


def taught(images: ImageSet, size: int, steps: int = 200) -> Tiny:
    """A tiny detector taught on all images of a set that are annotated."""
    torch.manual_seed(0)
    names = images.images.loc[images.images["annotated"], "image"].tolist()
    x = torch.from_numpy(np.stack([images.read(name) for name in names])).permute(0, 3, 1, 2).float() / 255
    cells = size // 8
    wanted, sides = torch.zeros(len(names), len(images.classes), cells, cells), torch.zeros(len(names), 4, cells, cells)
    for row, name in enumerate(names):
        known = images.annotations(name)
        for (left, top, right, bottom), label in zip(known.boxes.tolist(), known.label.tolist(), strict=True):
            i, j = min(int((top + bottom) / 16), cells - 1), min(int((left + right) / 16), cells - 1)
            wanted[row, label, i, j] = 1
            sides[row, :, i, j] = torch.tensor([8 * j + 4 - left, 8 * i + 4 - top, right - 8 * j - 4,
                                                bottom - 8 * i - 4]).clamp(min=0)
    network = Tiny(len(images.classes))
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    chance = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randperm(len(names), generator=chance)[:24]
        i, j = torch.randint(0, cells, (2,), generator=chance).tolist()
        # Images are shifted around themselves by whole cells, so that what is to be found shifts as they do.
        light = 0.7 + 0.6 * torch.rand(len(rows), 3, 1, 1, generator=chance)
        seen = (torch.roll(x[rows], (8 * i, 8 * j), (2, 3)) * light).clamp(max=1)
        known, borders = (torch.roll(value[rows], (i, j), (2, 3)) for value in (wanted, sides))
        if float(torch.rand((), generator=chance)) < 0.5:
            seen, known, borders = seen.flip(3), known.flip(3), borders.flip(3)[:, [2, 1, 0, 3]]
        _, logits, found = network(seen)
        there = known.amax(1, keepdim=True)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, known, reduction="sum") + \
            0.1 * (there * (found - borders).abs()).sum()
        optimiser.zero_grad()
        (loss / len(rows)).backward()
        optimiser.step()
    return network.eval()


def looker_of(network: Tiny, images: ImageSet, size: int, critical: Sequence[bool], rare: np.ndarray) -> Looker:
    """The tiny detector as choosing needs it."""
    y, x = (8 * value + 4 for value in np.mgrid[:size // 8, :size // 8].astype(np.float32))

    def look(batch: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [value.numpy() for value in network(torch.from_numpy(batch).float() / 255)]

    def raw(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, logits, s = look(batch)
        boxes = np.stack([x - s[:, 0], y - s[:, 1], x + s[:, 2], y + s[:, 3]], -1).reshape(len(batch), -1, 4) / size
        return boxes, (1 / (1 + np.exp(-logits))).transpose(0, 2, 3, 1).reshape(len(batch), -1, logits.shape[1])

    return Looker(raw, lambda batch: look(batch)[0].mean((2, 3)), images.classes, np.array(critical), rare, size, 0.4,
                  100, "tiny")


def wrong_boxes(looker: Looker, pool: ImageSet, level: float = 0.3) -> dict[str, int]:
    """Of each image, how many boxes the detector finds that lie on no animal of their class; by the truth."""
    from groundswell.core.boxes import iou
    from groundswell.pipelines.marine.selecting.uncertainty import places_of

    truth = read_truth(pool)
    found: dict[str, int] = {}
    for name in pool.images["image"]:
        boxes, scores = looker.raw(pool.read(name).transpose(2, 0, 1)[None])
        places = places_of(boxes[0], scores[0], size=looker.size, overlap=looker.overlap, most=looker.most)
        sure, mine = places.best >= level, truth[truth["image"] == name]
        right = (iou(places.boxes[sure], mine[["left", "top", "right", "bottom"]].to_numpy()) >= 0.3) & \
            (places.scores[sure].argmax(1)[:, None] == mine["label"].to_numpy()[None])
        found[name] = int((~right.any(1)).sum())
    return found
