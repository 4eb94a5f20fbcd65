"""
Windows and gaps
================

A record is cut into windows that never straddle a gap: counting begins anew after each one. What is left over at the
end of a stretch is dropped, or padded to one more window by ``data.tail=pad``. A window carries the label of an event
if the two share at least half of the window or of the event, whichever is shorter (``data.event_overlap``).
"""

# %%
# A record of 6000 time samples in which nothing was recorded from 2600 to 2900, and an event from 3900 to 4700.

from pathlib import Path

import matplotlib.pyplot as plt

from groundswell.pipelines.das.labels import Interval, RecordLabels
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.windows import cut, label_windows

record = Record(
    Path("record.h5"), "data", "hdf5", samples=6000, channels=96, rate_hz=250.0, spacing_m=10.0, gauge_m=20.0,
    start_time=None, axis_order="time,channel", axis_order_known="metadata", dtype="float32", units="nstrain/s",
    kind="waveform", layout="contiguous", gaps=((2600, 2900),), verdict="ok", size_bytes=0, modified_ns=0, detail={})
event = Interval(3900, 4700, 0, "event 1")
names = {0: "earthquake", -1: "not used: it only grazes the event"}
colours = {"earthquake": "#c44e52", "noise": "#8c8c8c", "not used: it only grazes the event": "#dd8452"}


def draw(axes, tail):
    pieces = cut(record, window=1024, stride=512, tail=tail)
    found = label_windows(pieces.windows, RecordLabels(intervals=(event,)), event_overlap=0.5)
    for row, (start, stop) in enumerate(pieces.windows):
        kind = "noise" if found.noise[row] else names[int(found.label[row])]
        axes.broken_barh([(start, stop - start)], (row + 0.1, 0.8), color=colours[kind], label=kind)
    axes.axvspan(2600, 2900, color="black", alpha=0.8, label="gap")
    axes.axvspan(event.start, event.stop, color="#c44e52", alpha=0.2, label="event")
    for start, stop in pieces.left:
        axes.axvspan(start, stop, ymax=0.06, color="#4c72b0", label="in no window")
    axes.set(title=f"tail: {tail}, {len(pieces.windows)} windows", ylabel="window", xlim=(0, 6000))


figure, both = plt.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
draw(both[0], "drop")
draw(both[1], "pad")
both[1].set_xlabel("time sample")
handles = {}
for axes in both:
    handles.update({label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)})
figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
plt.show()
