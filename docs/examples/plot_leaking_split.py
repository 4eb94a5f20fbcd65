"""
A split that leaks
==================

Forty events of twelve windows. Each event sounds like itself (its path, its instrument, its day), and nothing in a
window tells earthquakes from blasts: whoever is right in more than half of the events has not learnt the difference.
Split by chance, windows of one event lie in training and in test. A nearest-neighbour classifier then finds each test
window's own event among those it was taught, and with it the label.
"""

# %%
# The samples: what a window looks like depends on its event and not on its class.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.splits.make import make_split
from groundswell.splits.manifest import TEST, TRAIN
from groundswell.splits.recipe import SplitRecipe

random = np.random.default_rng(4)
events, windows = 40, 12
own = random.normal(size=(events, 1, 6))
x = (own + 0.5 * random.normal(size=(events, windows, 6))).reshape(-1, 6)
table = SampleTable(pd.DataFrame([
    {"sample_id": f"r{e}.h5:{512 * w}", "record": f"r{e}.h5", "label": e % 2, "group": f"event {e}",
     "event": f"event {e}", "start": 512 * w, "stop": 512 * w + 1024}
    for e in range(events) for w in range(windows)]), ("earthquake", "quarry_blast"))

# %%
# Both splits, and what their audits say.

splits = {"by event": make_split(table, SplitRecipe(regime="grouped", test=0.3)),
          "by chance": make_split(table, SplitRecipe(regime="ungrouped", test=0.3))}
for name, split in splits.items():
    print(f"Split {name}:", *split.audit.summary(), sep="\n  ")

# %%
# The score of each. The same classifier, the same windows; only who may see what differs.

labels, ids = table.labels(), table.column("sample_id").to_numpy()
scores = {}
for name, split in splits.items():
    taught, asked = split.rows(TRAIN), split.rows(TEST)
    found = KNeighborsClassifier(1).fit(x[taught], labels[taught]).predict(x[asked])
    answers = np.eye(2)[found] * 0.9 + 0.05
    judged = evaluate(Predictions.of(ids[asked], labels[asked], answers, table.classes), table,
                      EvaluateRecipe(temperature=False, bootstrap=500))
    scores[name] = judged.units.accuracy
    print(f"Split {name}: {judged.conclusion[0]}")

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for place, estimate in enumerate(scores.values()):
    axes.errorbar(estimate.value, place, xerr=[[estimate.value - estimate.low], [estimate.high - estimate.value]],
                  fmt="o", capsize=5, color="#4c72b0")
axes.axvline(0.5, color="black", linestyle="--", label="a constant answer")
axes.set(yticks=range(len(scores)), yticklabels=[f"split {name}" for name in scores], xlim=(0, 1.03),
         ylim=(-0.5, len(scores) - 0.5), xlabel="accuracy of events, with its 95 % interval")
axes.legend(loc="upper left")
plt.show()
# sphinx_gallery_thumbnail_number = 1
