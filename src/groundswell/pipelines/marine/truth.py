"""marine: the true boxes of a set of images, as evaluation wants them."""

from __future__ import annotations

import numpy as np

from groundswell.data.boxes import BoxTruth
from groundswell.data.table import SampleTable
from groundswell.evaluate.detection_controls import annotations_of
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import ClassMap


def truth_of(images: ImageSet, told: ClassMap, table: SampleTable) -> BoxTruth:
    """The boxes that are really there on the table's images and on those whose annotations they were dealt, by the
    classes that are told apart."""
    groups = dict(zip(table.column("sample_id"), table.groups(), strict=True))
    names = np.unique(np.concatenate([table.column("sample_id").to_numpy(object), annotations_of(table)]))
    return BoxTruth.of(names, [told.applied(images.annotations(str(name))) for name in names], told.names,
                       group=[groups.get(name, "") for name in names],
                       priority=[level or None for level in told.priority])
