"""geomag: the complete configuration of a run or of a study, as a pydantic model."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from groundswell.core.recipe import RecipePart
from groundswell.data.recipe import LoaderRecipe
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.splits.recipe import Regime, SplitRecipe
from groundswell.train.recipe import TrainRecipe

Family = Literal["gru", "lstm", "rnn", "mlp", "transformer"]
Model = Literal["gru", "lstm", "rnn", "mlp", "transformer", "minirocket"]
Days = Literal[7, 14, 30]

NETWORKS: tuple[Family, ...] = ("gru", "lstm", "rnn", "mlp", "transformer")
"""The families of networks, by the word in recipes."""
MODELS: tuple[Model, ...] = (*NETWORKS, "minirocket")
"""What a study can compare: the networks, and the simple way to do it."""


class GeomagDataRecipe(RecipePart):
    """Which windows, and what belongs together among them."""

    folder: str = "data"
    """Folder that holds window-7, window-14, window-30 with data_0.npy and data_1.npy."""
    window: Days = 7
    """Length of a window in days; a study takes study.windows instead."""
    join_overlaps: Literal["any", "station", "none"] = "any"
    """Which windows that overlap in time are one group, beside those of one event: any (a storm is seen everywhere),
    those of one station, none (blocks, which keeps overlaps apart by itself)."""


class GeomagPreprocessRecipe(RecipePart):
    """What happens to a window on the device, in training, use and the exported file alike."""

    detrend: Literal["none", "mean", "linear"] = "none"
    """Taken from each window by itself: nothing, its mean, or its straight line."""
    scaling: Literal["feature", "window", "none"] = "feature"
    """feature: z-score of each minute over the training windows of the fold; window: z-score of each window."""


class GeomagModelRecipe(RecipePart):
    """Which network and how large."""

    type: Family = "gru"
    """Family; a study takes study.models instead."""
    hidden_sizes: tuple[int, ...] = (512, 256)
    """Width of each layer (gru, lstm, rnn, mlp)."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Share of activations dropped in training; absent: 0.1 for the transformer, 0.3 for the others."""
    use_batch_norm: bool = True
    """Batch normalisation after each layer (gru, lstm, rnn, mlp)."""
    bidirectional: bool = False
    """Read the days both ways (gru, lstm, rnn)."""
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """Of the plain recurrent network (rnn)."""
    activation: Literal["relu", "tanh", "gelu", "elu", "leakyrelu", "selu"] = "relu"
    """Of the multilayer perceptron (mlp)."""
    d_model: int = Field(512, ge=2)
    """Width (transformer)."""
    nhead: int = Field(8, ge=1)
    """Attention heads (transformer)."""
    num_encoder_layers: int = Field(2, ge=1)
    """Encoder layers (transformer)."""
    dim_feedforward: int = Field(2048, ge=1)
    """Width inside a layer (transformer)."""

    @model_validator(mode="after")
    def _sizes_hold(self) -> GeomagModelRecipe:
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError("hidden_sizes must name at least one layer, each at least 1 wide")
        if self.type == "transformer" and self.d_model % self.nhead:
            raise ValueError(f"d_model {self.d_model} cannot be divided among {self.nhead} heads")
        return self

    @property
    def dropout_prob(self) -> float:
        """The share that is dropped."""
        return self.dropout if self.dropout is not None else 0.1 if self.type == "transformer" else 0.3


class GeomagSplitRecipe(SplitRecipe):
    """How windows are divided: by default five folds of events."""

    regime: Regime = "kfold"
    """kfold: folds of groups, or of what split.by names; blocks: folds in time with an embargo; grouped: one division;
    leave_one_out: one group a fold; stratified and ungrouped: single windows by chance (leak; only with
    allow_leakage)."""


class GeomagTrainRecipe(TrainRecipe):
    """How a network is trained. Names and defaults follow the seed of this pipeline where it has them."""

    epochs: int = Field(100, ge=1)
    """Passes over the training windows."""
    batch_size: int = Field(32, ge=1)
    """Windows in a batch, per process."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of AdamW."""
    plateau_factor: float = Field(0.1, gt=0, lt=1)
    """What the rate is multiplied by at a plateau."""
    plateau_patience: int = Field(10, ge=0)
    """Epochs without a lower validation loss before the rate is reduced."""
    early_stopping_patience: int = Field(20, ge=0)
    """Epochs without a better monitored value before training stops; 0 never stops early."""
    monitor: str = "val_f1"
    """What the epoch is chosen by, on the inner validation part: val_f1 (weighted), val_loss, val_mcc and so on."""
    class_weight_method: Literal["inverse", "sqrt", "effective", "balanced"] = "sqrt"
    """How the loss is weighted with use_class_weights."""
    checkpoint_every: int = Field(0, ge=0)
    """Epochs between periodic checkpoints that are kept; 0 keeps only the last and the best."""


class GeomagEvaluateRecipe(EvaluateRecipe):
    """How a model is judged."""

    controls: tuple[str, ...] = ("majority", "space_weather", "station_season_year", "window_shift", "surrogates",
                                 "minirocket")
    """Null controls and rivals that stand beside the score, on the same folds; permuted_labels refits the network."""


class StudyRecipe(RecipePart):
    """Many fits at once: models x windows x folds."""

    models: tuple[Model, ...] = MODELS
    """Families to compare."""
    windows: tuple[Days, ...] = (7, 14, 30)
    """Window lengths in days."""
    permutations: int = Field(199, ge=0)
    """Deals of the labels, event by event, behind each p-value; 0 gives none."""
    refits: int = Field(0, ge=0)
    """Of these, how many refit the networks too; MiniRocket + ridge is always refitted. 0 deals the labels anew against
    the networks' fixed answers."""
    cosine: tuple[Family, ...] = ("transformer",)
    """Families whose learning rate falls along a cosine, whatever train.scheduler says."""
    strategy: Literal["weighted_mean", "voting", "max_confidence"] = "weighted_mean"
    """How the members of an ensemble make one answer."""
    workers: int = Field(1, ge=1)
    """Fits at once (loky, or a local Dask cluster)."""
    threads: int = Field(0, ge=0)
    """Torch threads of each; 0 shares the cores out."""
    retries: int = Field(2, ge=0)
    """How often a fit is begun again after its worker died."""

    @model_validator(mode="after")
    def _something_to_do(self) -> StudyRecipe:
        if not self.models or not self.windows:
            raise ValueError("a study needs at least one of study.models and one of study.windows")
        if len(set(self.models)) < len(self.models) or len(set(self.windows)) < len(self.windows):
            raise ValueError("study.models and study.windows name each thing once")
        return self


class GeomagRecipe(RecipePart):
    """A complete run or study of geomagnetic windows."""

    listed_by: ClassVar[str] = "groundswell recipe show geomag"

    pipeline: Literal["geomag"] = "geomag"
    """Which pipeline the recipe is for."""
    data: GeomagDataRecipe = GeomagDataRecipe()
    """Windows."""
    preprocess: GeomagPreprocessRecipe = GeomagPreprocessRecipe()
    """What happens to a window on the device."""
    model: GeomagModelRecipe = GeomagModelRecipe()
    """The network."""
    loader: LoaderRecipe = LoaderRecipe()
    """How windows get from files into batches."""
    split: GeomagSplitRecipe = GeomagSplitRecipe()
    """Who may see what."""
    train: GeomagTrainRecipe = GeomagTrainRecipe()
    """How the network is trained."""
    evaluate: GeomagEvaluateRecipe = GeomagEvaluateRecipe()
    """How the model is judged."""
    study: StudyRecipe = StudyRecipe()
    """Which fits a study makes."""

    @model_validator(mode="after")
    def _one_correction(self) -> GeomagRecipe:
        if self.train.balanced_sampling and self.train.use_class_weights:
            raise ValueError("train.balanced_sampling and train.use_class_weights correct for the same imbalance; "
                             "choose one")
        return self


def recipe_for(recipe: GeomagRecipe, model: str, days: int) -> GeomagRecipe:
    """The recipe of one model and one window length of a study."""
    train = recipe.train.model_copy(update={"scheduler": "cosine"}) if model in recipe.study.cosine else recipe.train
    return recipe.model_copy(update={
        "data": recipe.data.model_copy(update={"window": days}), "train": train,
        "model": recipe.model.model_copy(update={"type": model})})
