"""marine: the complete configuration of a run and of the chain of runs, as pydantic models."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from groundswell.core.recipe import RecipePart
from groundswell.data.recipe import LoaderRecipe
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.pipelines.marine.engines import names
from groundswell.splits.recipe import SplitRecipe
from groundswell.train.recipe import TrainRecipe

Engine = Literal["rtdetr", "yolo"]
Level = Literal["light", "medium", "heavy"]
STEPS = ("pretrain", "baseline", "select", "specialise", "variants", "multiscale", "fuse", "calibrate", "export")
"""The chain, in its order."""


def _whole_cells(value: tuple[int, ...]) -> tuple[int, ...]:
    if any(size % 32 or not 64 <= size <= 2048 for size in value):
        raise ValueError("sizes are multiples of 32 from 64 to 2048")
    return value


class ImagesRecipe(RecipePart):
    """Which images, and how they reach the network."""

    images: str = "images"
    """Folder of a set of images, made by `groundswell marine organise` or `groundswell marine simulate`."""
    unlabelled: str = ""
    """Set whose images need no boxes, for pretraining and for choosing what to annotate; empty: images itself."""
    size: int = Field(640, ge=64, le=2048, multiple_of=32)
    """Edge of the square that an image is fitted into, pixels (the seed's imgsz)."""
    classes: Literal["own", "species", "priority", "animal"] = "own"
    """What is told apart: the set's own classes, species of the table, priority groups, or animals from background."""
    prepare: bool = False
    """Correct colour, haze and contrast of images that are not prepared yet, in training and in use."""


class ModelRecipe(RecipePart):
    """Which detector, and what it starts from."""

    engine: Engine = "rtdetr"
    """rtdetr: RT-DETRv2 (Apache-2.0); yolo: YOLOv8 and YOLO11 (AGPL-3.0, extra yolo)."""
    name: str = "rtdetrv2_r18"
    """rtdetr: rtdetrv2_nano, _r18, _r34, _r50, _r101; yolo: yolov8n, s, m, l, x, yolo11n, s, m, l, x."""
    start: str = ""
    """Run (a pretraining or a detector) or .pth file whose weights training starts from; empty: from chance."""
    average: float = Field(0.999, ge=0, lt=1)
    """Decay of the running mean of the weights that predicts (reached gradually); 0 keeps none."""


class AugmentRecipe(RecipePart):
    """How training images are changed by chance; names and defaults are the seed's."""

    hsv_h: float = Field(0.015, ge=0, le=1)
    """Largest change of hue, as a share of the circle."""
    hsv_s: float = Field(0.7, ge=0, le=1)
    """Largest relative change of saturation."""
    hsv_v: float = Field(0.4, ge=0, le=1)
    """Largest relative change of brightness."""
    degrees: float = Field(0.0, ge=0, le=180)
    """Largest rotation either way."""
    translate: float = Field(0.1, ge=0, le=1)
    """Largest shift, as a share of the image."""
    scale: float = Field(0.5, ge=0, lt=1)
    """Largest relative change of size."""
    shear: float = Field(0.0, ge=0, le=45)
    """Largest shear, degrees."""
    perspective: float = Field(0.0, ge=0, le=0.001)
    """Largest perspective coefficient."""
    flipud: float = Field(0.0, ge=0, le=1)
    """Share of images turned upside down."""
    fliplr: float = Field(0.5, ge=0, le=1)
    """Share of images mirrored."""
    mosaic: float = Field(1.0, ge=0, le=1)
    """Share of images that are put together from four of the batch."""
    mixup: float = Field(0.0, ge=0, le=1)
    """Share of images that are blended with another of the batch."""
    close_mosaic: int = Field(10, ge=0)
    """Last epochs without mosaic and mixup."""
    sizes: tuple[int, ...] = ()
    """Sizes one of which each batch is scaled to (multi-scale training); empty: data.size alone."""

    @field_validator("sizes")
    @classmethod
    def _of_whole_cells(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return _whole_cells(value)


class SamplingRecipe(RecipePart):
    """How often training sees an image."""

    oversampling_ratio: float = Field(1.0, ge=1, le=20)
    """Repeats of an image with a critical species that has min_per_class boxes or more; rarer ones up to max_repeat."""
    min_per_class: int = Field(100, ge=0)
    """Boxes below which a critical species counts as rare."""
    max_repeat: float = Field(5.0, ge=1, le=20)
    """Most repeats of an image."""
    negatives: str = ""
    """List of hard negatives (of `groundswell marine mine`), for repeats of the images they were found on."""
    class_weights: Literal["default", "balanced", "critical_heavy"] = "default"
    """default: all classes alike; balanced: rarer ones more; critical_heavy: critical species three times."""


class MarineTrainRecipe(TrainRecipe):
    """How a detector is trained."""

    epochs: int = Field(300, ge=1)
    """Passes over the training images."""
    batch_size: int = Field(16, ge=1)
    """Images in a batch, per process."""
    learning_rate: float = Field(1e-3, gt=0)
    """Initial step size (the seed: 0.01 with optimiser sgd)."""
    weight_decay: float = Field(5e-4, ge=0)
    """Weight decay, decoupled with adamw."""
    scheduler: Literal["plateau", "cosine", "none", "stages"] = "cosine"
    """plateau: halve the rate when the validation loss stops falling; cosine: to zero over all epochs; stages: as
    train.stages says, whatever train.learning_rate is."""
    warmup_epochs: float = Field(3.0, ge=0)
    """Epochs in which the step size rises in a line from nearly nothing; not with scheduler stages."""
    clip_norm: float = Field(10.0, ge=0)
    """Largest gradient norm; 0 clips nothing."""
    monitor: str = "val_map50"
    """What the best epoch is chosen by: val_map50 or val_loss."""
    early_stopping_patience: int = Field(50, ge=0)
    """Epochs without a better monitored value before training stops (the seed's patience); 0 never stops early."""
    checkpoint_every: int = Field(10, ge=0)
    """Epochs between periodic checkpoints (the seed's save_period); 0 keeps only the last and the best."""
    use_class_weights: bool = False
    """Of images: must stay false; sampling.class_weights weights classes of boxes."""


class DetectRecipe(RecipePart):
    """How raw scores become boxes."""

    confidence: float = Field(0.25, ge=0, le=1)
    """Score from which a box is shown and counted. Evaluation looks at all raw scores from 0.001."""
    iou: float = Field(0.7, gt=0, le=1)
    """Overlap above which the weaker of two boxes of a class is dropped."""
    most: int = Field(300, ge=1)
    """Most boxes of an image."""


class PretrainRecipe(RecipePart):
    """Self-supervised pretraining of the detector's backbone by MoCo v3; names are the seed's."""

    epochs: int = Field(100, ge=1)
    """Passes over the images."""
    batch_size: int = Field(256, ge=2)
    """Images in a batch, per process."""
    learning_rate: float = Field(1e-3, gt=0)
    """Initial step size of AdamW."""
    weight_decay: float = Field(1e-4, ge=0)
    """Weight decay."""
    warmup_epochs: float = Field(10.0, ge=0)
    """Epochs in which the step size rises."""
    size: int = Field(224, ge=32, multiple_of=32)
    """Edge of a view, pixels."""
    temperature: float = Field(0.2, gt=0)
    """Of the contrastive loss."""
    momentum: float = Field(0.99, ge=0, lt=1)
    """Of the momentum encoder at first; it rises to 1 along a cosine."""
    projection_dim: int = Field(256, ge=8)
    """Length of the vectors that are compared."""
    hidden_dim: int = Field(4096, ge=8)
    """Width of the projection and prediction heads."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    """Largest changes of brightness, contrast, saturation and hue."""
    blur: float = Field(0.5, ge=0, le=1)
    """Share of views that are blurred."""
    solarise: float = Field(0.2, ge=0, le=1)
    """Share of second views that are solarised."""
    grey: float = Field(0.2, ge=0, le=1)
    """Share of views without colour."""
    crop: float = Field(0.2, gt=0, le=1)
    """Smallest share of the image that a view shows."""
    min_images: int = Field(50000, ge=0)
    """Images below which a warning says that pretraining may not help."""


class SelectRecipe(RecipePart):
    """Which images to annotate next; names are the seed's."""

    num_samples: int = Field(2000, ge=1)
    """Images to choose."""
    band: tuple[float, float] = (0.3, 0.7)
    """Raw scores that count as uncertain."""
    entropy: float = Field(0.3, ge=0)
    """Weight of the binary entropy of the scores."""
    least_confidence: float = Field(0.2, ge=0)
    """Weight of how unsure the surest box is."""
    margin: float = Field(0.2, ge=0)
    """Weight of how close the two likeliest classes of a box are."""
    variation: float = Field(0.15, ge=0)
    """Weight of how boxes' classes and scores change when the image is mirrored or darkened."""
    critical: float = Field(0.25, ge=0)
    """Weight of boxes of critical species."""
    rarity: float = Field(0.15, ge=0)
    """Weight of boxes of classes that have few boxes so far."""
    clusters: int = Field(50, ge=1)
    """Clusters in feature space among which the images are spread."""

    @field_validator("band")
    @classmethod
    def _of_scores(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] <= value[1] <= 1:
            raise ValueError(f"the band of uncertain scores goes from a smaller to a larger score, 0 to 1, not from "
                             f"{value[0]:g} to {value[1]:g}")
        return value


class SpecialiseRecipe(RecipePart):
    """Training for critical species; names are the seed's."""

    epochs: int = Field(200, ge=1)
    """Passes over the training images, over all rounds together."""
    learning_rate: float = Field(5e-4, gt=0)
    """Initial step size."""
    oversampling_ratio: float = Field(3.0, ge=1, le=20)
    """See sampling.oversampling_ratio."""
    rounds: int = Field(3, ge=0)
    """Rounds of mining hard negatives on the training part."""
    threshold: float = Field(0.5, gt=0, lt=1)
    """Score from which a box without a match is a hard negative (the seed's false_positive_threshold)."""
    iou: float = Field(0.5, gt=0, le=1)
    """Overlap that counts as a match."""
    most: int = Field(500, ge=1)
    """Most hard negatives of a round."""


class VariantRecipe(RecipePart):
    """One member of the ensemble."""

    confidence: float = Field(ge=0, le=1)
    """Score from which its boxes are counted where it stands alone; a fusion takes all from fuse.floor on."""
    iou: float = Field(gt=0, le=1)
    """Overlap above which the weaker of two of its boxes is dropped."""
    augmentation: Level
    """light, medium or heavy; see docs."""
    class_weights: Literal["default", "balanced", "critical_heavy"] = "default"
    """See sampling.class_weights."""
    weight: float = Field(1.0, gt=0)
    """Its weight in the fusion."""


class RecallRecipe(VariantRecipe):
    """The member that would rather look twice."""

    confidence: float = Field(0.15, ge=0, le=1)
    """Score from which its boxes are counted where it stands alone; a fusion takes all from fuse.floor on."""
    iou: float = Field(0.4, gt=0, le=1)
    """Overlap above which the weaker of two of its boxes is dropped."""
    augmentation: Level = "heavy"
    """light, medium or heavy; see docs."""
    class_weights: Literal["default", "balanced", "critical_heavy"] = "balanced"
    """See sampling.class_weights."""
    weight: float = Field(0.3, gt=0)
    """Its weight in the fusion."""


class BalancedRecipe(VariantRecipe):
    """The member between the two others."""

    confidence: float = Field(0.25, ge=0, le=1)
    """Score from which its boxes are counted where it stands alone; a fusion takes all from fuse.floor on."""
    iou: float = Field(0.5, gt=0, le=1)
    """Overlap above which the weaker of two of its boxes is dropped."""
    augmentation: Level = "medium"
    """light, medium or heavy; see docs."""
    weight: float = Field(0.4, gt=0)
    """Its weight in the fusion."""


class PrecisionRecipe(VariantRecipe):
    """The member that would rather be right."""

    confidence: float = Field(0.4, ge=0, le=1)
    """Score from which its boxes are counted where it stands alone; a fusion takes all from fuse.floor on."""
    iou: float = Field(0.6, gt=0, le=1)
    """Overlap above which the weaker of two of its boxes is dropped."""
    augmentation: Level = "light"
    """light, medium or heavy; see docs."""
    class_weights: Literal["default", "balanced", "critical_heavy"] = "critical_heavy"
    """See sampling.class_weights."""
    weight: float = Field(0.3, gt=0)
    """Its weight in the fusion."""


class VariantsRecipe(RecipePart):
    """The three variants and how they are trained; names are the seed's."""

    epochs: int = Field(150, ge=1)
    """Passes over the training images, each."""
    learning_rate: float = Field(5e-4, gt=0)
    """Initial step size."""
    networks: tuple[str, ...] = ()
    """Networks that each variant is trained of, such as yolov8x and yolo11x for the shore; empty: model.name alone.
    One that is not model.name starts from chance, for the specialised weights are another network's."""
    recall: RecallRecipe = RecallRecipe()
    """High recall."""
    balanced: BalancedRecipe = BalancedRecipe()
    """Balanced."""
    precision: PrecisionRecipe = PrecisionRecipe()
    """High precision."""


class MultiscaleRecipe(RecipePart):
    """Training each variant on at many sizes; names are the seed's."""

    epochs: int = Field(100, ge=1)
    """Passes over the training images, each."""
    learning_rate: float = Field(3e-4, gt=0)
    """Initial step size."""
    batch_size: int = Field(12, ge=1)
    """Images in a batch, per process."""
    sizes: tuple[int, ...] = (480, 512, 576, 640, 704, 768)
    """Sizes one of which each batch is scaled to."""

    @field_validator("sizes")
    @classmethod
    def _of_whole_cells(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return _whole_cells(value)


class FuseRecipe(RecipePart):
    """How boxes of several members, or of several views, become one set."""

    method: Literal["wbf", "nms"] = "wbf"
    """wbf: weighted boxes fusion; nms: class-aware weighted non-maximum suppression."""
    iou: float = Field(0.55, gt=0, le=1)
    """Overlap from which boxes of one class are one animal."""
    floor: float = Field(0.001, ge=0, lt=1)
    """Score below which boxes of a member do not take part. The variants' own confidences apply where counts are made,
    for a threshold before fusion would cost recall at every later one."""


class TtaRecipe(RecipePart):
    """Views of an image whose boxes are fused; names are the seed's."""

    enabled: bool = True
    """Look at the views; false: at the image alone."""
    horizontal_flip: bool = True
    """Also mirrored."""
    vertical_flip: bool = False
    """Also upside down."""
    rotations: tuple[Literal[0, 90, 180, 270], ...] = (0,)
    """Quarter turns, degrees; the seed names 0, 90, 180 and 270."""
    scales: tuple[float, ...] = (0.9, 1.0, 1.1)
    """Sizes."""

    @field_validator("scales")
    @classmethod
    def _something_is_seen(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0.1 <= scale <= 4 for scale in value):
            raise ValueError("scales are from 0.1 to 4")
        return value


class CalibrateRecipe(RecipePart):
    """How scores become frequencies; names are the seed's."""

    method: Literal["temperature", "platt"] = "platt"
    """temperature: one number; platt: slope and offset, of the logit of a box's score."""
    iou: float = Field(0.5, gt=0, le=1)
    """Overlap from which a box counts as right."""
    share: float = Field(0.5, gt=0, lt=1)
    """Share of the validation groups that calibration is fitted on; it is judged on the test part."""
    optimise: Literal["f1", "recall", "precision"] = "f1"
    """What the threshold of each class is chosen by."""
    least: int = Field(30, ge=2)
    """Fewest boxes of a class for a calibration and a threshold of its own; others share one."""


class ExportRecipe(RecipePart):
    """How the chain ends."""

    precision: Literal["fp32", "fp16"] = "fp16"
    """Of the ONNX files; where fp16 costs more than most_loss, fp32 is tried."""
    most_loss: float = Field(0.01, ge=0, lt=1)
    """Largest fall of mAP50 that is let pass."""
    workspace_gb: float = Field(4.0, gt=0)
    """Memory of TensorRT while it builds."""


class MarineSplitRecipe(SplitRecipe):
    """Who may see what: whole clips, dives or deployments are held out."""

    validation: float = Field(0.15, gt=0, lt=1)
    """Share of all groups for validation (grouped), of a fold's training groups (kfold, leave_one_out), or of samples
    (other regimes); the best epoch, calibration and thresholds are chosen on it."""
    test: float = Field(0.15, ge=0, lt=1)
    """Share of all groups for the test (grouped), or of samples (other regimes)."""


class BudgetRecipe(RecipePart):
    """What a camera station may spend; names are the seed's."""

    max_wh_per_day: float = Field(40.0, gt=0)
    """Energy for inference, Wh a day."""
    cameras: int = Field(4, ge=1)
    """Cameras."""
    fps: float = Field(5.0, gt=0)
    """Frames looked at in a second of recording."""
    capture_duration_s: float = Field(30.0, gt=0)
    """Length of a recording, seconds."""
    captures_per_hour: float = Field(2.0, gt=0)
    """Recordings in an hour, each camera."""
    watts: float = Field(10.0, gt=0)
    """Power of the computer while it works, where it is not measured."""
    ms_per_image: float = Field(200.0, gt=0)
    """Time for an image, where it is not measured."""


class MarineRecipe(RecipePart):
    """A complete run, and the chain of runs."""

    listed_by: ClassVar[str] = "groundswell recipe show marine"

    pipeline: Literal["marine"] = "marine"
    """Which pipeline the recipe is for."""
    data: ImagesRecipe = ImagesRecipe()
    """Images."""
    model: ModelRecipe = ModelRecipe()
    """The detector."""
    augment: AugmentRecipe = AugmentRecipe()
    """How training images are changed."""
    sampling: SamplingRecipe = SamplingRecipe()
    """How often training sees an image."""
    split: MarineSplitRecipe = MarineSplitRecipe()
    """Who may see what: whole clips, dives or deployments are held out."""
    loader: LoaderRecipe = LoaderRecipe()
    """How images get from files into batches."""
    train: MarineTrainRecipe = MarineTrainRecipe()
    """How the detector is trained; in the chain, the baseline."""
    detect: DetectRecipe = DetectRecipe()
    """How raw scores become boxes."""
    evaluate: DetectionEvaluateRecipe = DetectionEvaluateRecipe()
    """How the detector is judged."""
    steps: tuple[str, ...] = STEPS
    """Steps of the chain, in its order."""
    pretrain: PretrainRecipe = PretrainRecipe()
    """Step: self-supervised pretraining."""
    select: SelectRecipe = SelectRecipe()
    """Step: what to annotate next."""
    specialise: SpecialiseRecipe = SpecialiseRecipe()
    """Step: critical species and hard negatives."""
    variants: VariantsRecipe = VariantsRecipe()
    """Step: the ensemble's members."""
    multiscale: MultiscaleRecipe = MultiscaleRecipe()
    """Step: each member at many sizes."""
    fuse: FuseRecipe = FuseRecipe()
    """Step: fusion."""
    tta: TtaRecipe = TtaRecipe()
    """Step: views of an image."""
    calibrate: CalibrateRecipe = CalibrateRecipe()
    """Step: calibration."""
    export: ExportRecipe = ExportRecipe()
    """Step: export."""
    budget: BudgetRecipe = BudgetRecipe()
    """Energy of a station."""

    @field_validator("steps")
    @classmethod
    def _in_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in STEPS]
        if unknown or tuple(sorted(value, key=STEPS.index)) != value or "baseline" not in value:
            raise ValueError(f"steps are some of {', '.join(STEPS)}, in this order, the baseline among them")
        return value

    @model_validator(mode="after")
    def _keys_go_together(self) -> MarineRecipe:
        if self.train.use_class_weights or self.train.balanced_sampling or self.train.use_focal_loss:
            raise ValueError("images have no class: use_class_weights, balanced_sampling and use_focal_loss must be "
                             "false; sampling.class_weights weights the classes of boxes")
        if not self.model.name.startswith({"rtdetr": "rtdetrv2_", "yolo": "yolo"}[self.model.engine]):
            raise ValueError(f"model.name {self.model.name} is no detector of the engine {self.model.engine}")
        # The chain would find out after days.
        many, known = self.variants.networks, names(self.model.engine)
        if len(set(many)) < len(many) or not set(many) <= set(known):
            raise ValueError(f"variants.networks are different networks of the engine {self.model.engine}: "
                             f"{', '.join(known)}")
        if self.split.regime == "published":
            raise ValueError("a published division of frames is not trained on: `groundswell marine split` audits it")
        return self
