"""biodiversity: the complete configuration of a run, as a pydantic model."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from groundswell.core.recipe import RecipePart
from groundswell.data.recipe import LoaderRecipe
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.pipelines.biodiversity.pretrain_recipe import PretrainRecipe
from groundswell.splits.recipe import Regime, SplitRecipe
from groundswell.train.recipe import TrainRecipe

Tier = Literal["vision_mean", "vision_temporal", "vision_grid", "vision"]
MODES: dict[str, tuple[str, ...]] = {"language": ("language",), "vision": ("vision",), "both": ("vision", "language")}
"""Modalities of each mode of the seed's training command."""


class BiodiversityDataRecipe(RecipePart):
    """Which observations, and what belongs together among them."""

    store: str = "store"
    """Folder of the embedding store."""
    observations: str = ""
    """Table of observations (CSV, Parquet); empty takes the store's own."""
    vision: Tier = "vision_mean"
    """Which table of vision vectors is read: whole, or pooled beforehand. A classifier pools them all the same, so that
    the smaller table gives the same answers many times faster."""
    split_file: str = ""
    """A split that was written by `groundswell biodiversity split`, or published, to train on; empty divides anew as
    split.regime says. A validation part is drawn from its training part where it has none."""
    group: Literal["place_day", "place", "observer", "observation"] = "place_day"
    """What must never straddle a split: one visit of one spot, a spot, an observer, or nothing."""
    cluster_km: float = Field(10.0, gt=0, le=1000)
    """Edge of the squares that intervals are drawn over: observations of one square are not independent."""
    least_observations: int = Field(1, ge=1)
    """Species with fewer observations are left out, and counted."""


class BiodiversityModelRecipe(RecipePart):
    """Which network and how large."""

    modalities: tuple[str, ...] = ("vision",)
    """What the classifier sees: vision, language, place. Language vectors are one for each species, so that a score of
    language is a look-up and no skill; reports say so."""
    hidden_dim: int = Field(128, ge=1)
    """Width of the two hidden layers."""
    place_size: Literal["tiny", "small", "base"] = "small"
    """Size of the grid that encodes place and time (place)."""
    scaling: Literal["none", "feature"] = "none"
    """feature: z-score of each number of an embedding over the training part; none: as stored."""
    encoder_dim: int = Field(0, ge=0)
    """Width of an encoder before each classifier, as the masked autoencoder has it (pretrain.fusion_dim); 0: none, the
    published classifiers."""
    init_from: str = ""
    """Run of `groundswell biodiversity pretrain` whose encoders the classifier starts from; empty starts afresh."""

    @model_validator(mode="after")
    def _something_to_see(self) -> BiodiversityModelRecipe:
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise ValueError("modalities names at least one thing, each once")
        if self.init_from and (not self.encoder_dim or self.scaling != "none"):
            raise ValueError("init_from needs encoders to start (encoder_dim, the pretraining's fusion_dim), which "
                             "scale vectors themselves (scaling=none)")
        return self


class BiodiversitySplitRecipe(SplitRecipe):
    """How observations are divided: by default by blocks of space, with a buffer."""

    regime: Regime = "spatial"
    """spatial: by cells, with buffer_m metres left out around what is tested; temporal: from test_from on;
    spatiotemporal: both; published: the split of the Central Florida data set; knndm: folds whose tests lie as far from
    training as what will be predicted; buffered: leave one out with a buffer; grouped, kfold: by group; ungrouped:
    single observations by chance."""


class BiodiversityTrainRecipe(TrainRecipe):
    """How a network is trained. Names and defaults follow the seed of this pipeline where it has them."""

    epochs: int = Field(10, ge=1)
    """Passes over the training observations."""
    batch_size: int = Field(32, ge=1)
    """Observations in a batch, per process."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of Adam."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay."""
    monitor: str = "val_loss"
    """What the epoch is chosen by, on the validation part: val_loss, val_accuracy, val_top5 or val_f1 (macro)."""
    use_class_weights: bool = False
    """Weight the loss by how rare a species is in the training part."""
    use_focal_loss: bool = False
    """Focal loss instead of cross-entropy."""


class BiodiversityEvaluateRecipe(EvaluateRecipe):
    """How a model is judged."""

    controls: tuple[str, ...] = ("majority", "month_prior", "coordinates_knn", "linear_probe")
    """Null controls and rivals that stand beside the score, on the same split; permuted_labels refits the network."""


class BiodiversityRecipe(RecipePart):
    """A complete run of the biodiversity pipeline."""

    listed_by: ClassVar[str] = "groundswell recipe show biodiversity"

    pipeline: Literal["biodiversity"] = "biodiversity"
    """Which pipeline the recipe is for."""
    data: BiodiversityDataRecipe = BiodiversityDataRecipe()
    """Observations."""
    model: BiodiversityModelRecipe = BiodiversityModelRecipe()
    """The network."""
    pretrain: PretrainRecipe = PretrainRecipe()
    """The masked autoencoder, of `groundswell biodiversity pretrain` alone."""
    loader: LoaderRecipe = LoaderRecipe()
    """How embeddings get from files into batches."""
    split: BiodiversitySplitRecipe = BiodiversitySplitRecipe()
    """Who may see what."""
    train: BiodiversityTrainRecipe = BiodiversityTrainRecipe()
    """How the network is trained."""
    evaluate: BiodiversityEvaluateRecipe = BiodiversityEvaluateRecipe()
    """How the model is judged."""

    @model_validator(mode="after")
    def _one_correction(self) -> BiodiversityRecipe:
        if self.train.balanced_sampling and self.train.use_class_weights:
            raise ValueError("train.balanced_sampling and train.use_class_weights correct for the same imbalance; "
                             "choose one")
        return self
