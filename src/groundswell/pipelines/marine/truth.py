"""marine: the true boxes of a set of images, as evaluation wants them."""

from __future__ import annotations

import numpy as np

from groundswell.data.boxes import BoxTruth
from groundswell.data.table import SampleTable
from groundswell.pipelines.marine.images import Annotations, ImageSet
from groundswell.pipelines.marine.labels import ClassMap, dealt_classes


def truth_of(images: ImageSet, told: ClassMap, table: SampleTable) -> BoxTruth:
    """The boxes of the table's images, in its order, by the classes that are told apart; of a table whose classes a
    control has dealt anew (column ``dealt``), the dealt ones."""
    names = table.column("sample_id").to_numpy(object)
    dealt = table.column("dealt").to_numpy(np.int64) if table.has("dealt") else np.full(len(names), -1)
    each = []
    for name, seed in zip(names, dealt, strict=True):
        found = told.applied(images.annotations(name))
        if seed >= 0:
            found = Annotations(found.boxes, dealt_classes(int(seed), len(told.names))[found.label], found.track,
                                found.crowd)
        each.append(found)
    return BoxTruth.of(names, each, told.names, group=table.groups(),
                       priority=[level or None for level in told.priority])
