"""symae: the task that a recipe asks for."""

from __future__ import annotations

from torch import Tensor

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.models.losses import Weights
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.pipelines.symae.reference_task import ReferenceTask
from groundswell.pipelines.symae.source_task import SourceTask
from groundswell.train.task import Batch, Sums, Task


class Unlabelled(SourceTask):
    """The source task taught by the traces alone, whatever truth comes with them."""

    def forward(self, batch: Batch, generator: object = None) -> tuple[Tensor, Sums]:
        """See :class:`SourceTask`."""
        blind = {**batch, "labelled": batch["labelled"] * 0} if "labelled" in batch else batch
        return super().forward(blind, generator)  # type: ignore[arg-type]


def build_task(recipe: SymaeRecipe, *, nt: int, dt: float) -> Task:
    """A freshly initialised task for traces of ``nt`` samples, ``dt`` seconds apart.

    Raises:
        InputError: the sizes that the recipe names make no network for such traces.
    """
    model, most = recipe.model, recipe.data.most_traces
    if model.type == "reference":
        if model.stack_only:
            raise InputError("The reference model sees whole bags", where="model.stack_only", fix="Set it to false")
        # The loss is a sum over a bag's samples and its penalties' weights go with that.
        return ReferenceTask(nt, model.p, model.q, model.k, dt=dt,
                             weights=Weights(gamma=model.gamma, gamma_shift=model.gamma_shift),
                             temperatures=model.temperature, traces=most, envelopes=model.envelope)
    kind = SourceTask if recipe.data.labels else Unlabelled
    return kind(nt, dt, widths=model.widths, trace_widths=model.trace_widths, pooling=model.pooling,
                stack_only=model.stack_only, q=model.q, aligned=model.align, polarity=model.polarity,
                max_shift_s=model.max_shift_s, realign=model.realign)
