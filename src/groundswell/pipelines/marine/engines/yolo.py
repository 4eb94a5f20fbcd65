"""marine: the engine yolo: YOLOv8 and YOLO11, built of Ultralytics' parts and taught by our own loop.

The keys of the state dict are those of an Ultralytics network's state dict (``model.0.conv.weight``), so that weights
go both ways as plain tensors. Shape letters: b image, m box of the truth, n place of the network, c class, r bin of a
distance.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from groundswell.pipelines.marine.detector import IGNORED, Engine, Raw
from groundswell.pipelines.marine.engines.ultralytics_parts import network, parts


class Places(NamedTuple):
    """What the head says and where its places are.

    Attributes:
        edges: of each place, logits of the distances to the box's four edges, in strides, (b, n, 4 r).
        logits: of each class, (b, n, c).
        centres: of the places, in strides, (n, 2).
        stride: pixels, (n, 1).
    """

    edges: Tensor
    logits: Tensor
    centres: Tensor
    stride: Tensor


class Yolo(Engine):
    """A YOLOv8 or YOLO11 network (Jocher et al., Ultralytics YOLO, 2023 and 2024) with weights by chance.

    Args:
        name: ``yolov8`` or ``yolo11`` with the letter of a size, n, s, m, l or x.
        classes: how many.
        box_gain, class_gain, edge_gain: weights of the three terms of the loss.
        answering: places that answer for a box, at most.
    """

    engine: ClassVar[str] = "yolo"
    suppress: ClassVar[bool] = True

    def __init__(self, name: str, classes: int, *, box_gain: float = 7.5, class_gain: float = 0.5,
                 edge_gain: float = 1.5, answering: int = 10) -> None:
        super().__init__(name, classes)
        layers, self._backbone_layers = network(name, classes)
        self.model = layers
        self._sources = [[layer.f] if isinstance(layer.f, int) else list(layer.f) for layer in layers]
        self._kept = {source for sources in self._sources for source in sources if source != -1}
        self.strides = [int(stride) for stride in layers[-1].stride.tolist()]
        self.gains = {"box": box_gain, "class": class_gain, "edge": edge_gain}
        self.bins = int(layers[-1].reg_max)
        self._assign = parts().assigner(topk=answering, num_classes=classes, alpha=0.5, beta=6.0, stride=self.strides)
        self._box_loss = parts().box_loss(self.bins)
        self.register_buffer("_steps", torch.arange(self.bins, dtype=torch.float32), persistent=False)
        self._steps: Tensor

    # -- forward -----------------------------------------------------------------------------------------------------

    def backbone(self, x: Tensor) -> Tensor:
        """See :class:`~groundswell.pipelines.marine.detector.Engine`: the layers up to SPPF (YOLOv8) or C2PSA."""
        return self._layers(x, self._backbone_layers)[-1]

    def backbone_names(self) -> tuple[str, ...]:
        """``model.0.`` to ``model.9.`` (YOLOv8) or ``model.10.``."""
        return tuple(f"model.{number}." for number in range(self._backbone_layers))

    def raw(self, x: Tensor) -> Raw:
        """See :class:`~groundswell.pipelines.marine.detector.Engine`; all places of all levels, n = q."""
        return self._raw(self._places(x), x)

    def losses(self, x: Tensor, boxes: Tensor, label: Tensor, weight: Tensor,
               class_weight: Tensor | None = None) -> dict[str, Tensor]:
        """``loss``, ``box`` (complete overlap), ``class`` (binary cross-entropy), ``edge`` (distribution of the
        distances); see :class:`~groundswell.pipelines.marine.detector.Engine`."""
        return self._losses(self._places(x), x, boxes, label, weight, class_weight)

    def losses_and_raw(self, x: Tensor, boxes: Tensor, label: Tensor, weight: Tensor,
                       class_weight: Tensor | None = None) -> tuple[dict[str, Tensor], Raw]:
        """Both from one pass."""
        places = self._places(x)
        return self._losses(places, x, boxes, label, weight, class_weight), self._raw(places, x)

    def _layers(self, x: Tensor, count: int) -> list[Tensor]:
        """Outputs of the first layers, those that nobody asks for later left out but the last."""
        outputs: list[Tensor] = []
        for number, sources in enumerate(self._sources[:count]):
            taken = [x if source == -1 else outputs[source] for source in sources]
            x = self.model[number](taken[0] if len(taken) == 1 else taken)
            outputs.append(x if number in self._kept or number == count - 1 else x.new_empty(0))
        return outputs

    def _places(self, x: Tensor) -> Places:
        head: Any = self.model[-1]
        outputs = self._layers(x, len(self.model) - 1)
        levels = [outputs[source] for source in self._sources[-1]]
        said = head.forward_head(levels, **head.one2many)
        centres, strides = [], []
        for level, stride in zip(levels, self.strides, strict=True):
            rows, columns = (torch.arange(size, dtype=torch.float32, device=x.device) + 0.5 for size in level.shape[2:])
            grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).reshape(-1, 2)
            centres.append(grid)
            strides.append(torch.full_like(grid[:, :1], stride))
        return Places(said["boxes"].transpose(1, 2).float(), said["scores"].transpose(1, 2).float(),
                      torch.cat(centres), torch.cat(strides))

    def _boxes(self, places: Places) -> Tensor:
        """Left, top, right, bottom in strides, (b, n, 4)."""
        shares = places.edges.reshape(*places.edges.shape[:-1], 4, self.bins).softmax(-1)
        distance = (shares * self._steps).sum(-1)
        return torch.cat([places.centres - distance[..., :2], places.centres + distance[..., 2:]], -1)

    def _raw(self, places: Places, x: Tensor) -> Raw:
        height, width = x.shape[-2:]
        size = torch.tensor([width, height, width, height], dtype=torch.float32, device=x.device)
        return Raw(self._boxes(places) * places.stride / size, places.logits.sigmoid())

    # -- loss --------------------------------------------------------------------------------------------------------

    def _losses(self, places: Places, x: Tensor, boxes: Tensor, label: Tensor, weight: Tensor,
                class_weight: Tensor | None) -> dict[str, Tensor]:
        """Task-aligned assignment (Feng et al., ICCV 2021), complete overlap (Zheng et al., AAAI 2020) and
        distribution focal loss (Li et al., NeurIPS 2020), as the field trains these networks. Weights of images and
        ignored regions are ours."""
        with torch.autocast(x.device.type, enabled=False):
            height, width = x.shape[-2:]
            size = torch.tensor([width, height, width, height], dtype=torch.float32, device=x.device)
            truth, label = _trimmed(boxes.float() * size, label)
            found = self._boxes(places)
            at = places.centres * places.stride
            known = (label >= 0)[..., None]
            _, target, share, answers, _ = self._assign(
                places.logits.detach().sigmoid(), found.detach() * places.stride, at, label.clamp(min=0)[..., None],
                truth * known, known)
            each = weight.float()[:, None, None]
            share = share.to(found.dtype) * each
            whole = share.sum().clamp(min=1)
            counts = (answers | ~_inside(at, truth, label == IGNORED))[..., None] * each
            per_class = torch.ones_like(each) if class_weight is None else class_weight.float()
            said = nn.functional.binary_cross_entropy_with_logits(
                places.logits, share / each.clamp(min=1e-12), reduction="none")
            box, edge = self._box_loss(places.edges, found, places.centres, target / places.stride, share * per_class,
                                       whole, answers, size[[1, 0]], places.stride)
            terms = {"box": box * self.gains["box"], "edge": edge * self.gains["edge"],
                     "class": (said * counts * per_class).sum() / whole * self.gains["class"]}
            return {"loss": terms["box"] + terms["class"] + terms["edge"], **terms}


def _trimmed(boxes: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes and labels, rows of padding last, without the columns that pad every image; one column at least."""
    order = (label == -1).long().argsort(dim=1, stable=True)
    most = max(1, int((label != -1).sum(1).max())) if label.shape[1] else 0
    order = order[:, :most]
    return boxes.gather(1, order[..., None].expand(-1, -1, 4)), label.gather(1, order)


def _inside(points: Tensor, boxes: Tensor, which: Tensor) -> Tensor:
    """Whether points (n, 2) lie in one of the boxes (b, m, 4) that count (b, m), (b, n)."""
    if not bool(which.any()):
        return which.new_zeros((len(boxes), len(points)))
    low = (points[None, None] >= boxes[:, :, None, :2]).all(-1)
    high = (points[None, None] <= boxes[:, :, None, 2:]).all(-1)
    return (low & high & which[..., None]).any(1)


def build(name: str, classes: int, **options: float) -> Yolo:
    """A network by chance; see :class:`Yolo`."""
    return Yolo(name, classes, **options)  # type: ignore[arg-type]
