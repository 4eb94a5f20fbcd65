"""What the reading benchmark is to reach, in each of its cells, and why it does not where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.reading_files import Cell

Rates = dict[str, float]
"""Windows per second, by way."""
_CHUNKS = {"chunks 512x1000": 1.6, "chunks 1000x64": 2.6, "chunks automatic": 4.0}
_TENTH = ("the naive way, with the library's own strides, is itself within a factor of four of the copy here, so that "
          "eight times would be faster than memory")
_GZIP = ("libdeflate undoes these chunks 1.9 times as fast as zlib, and a block of four windows has five chunks where "
         "the windows alone have eight: 3.0 at most. ISA-L was tried: a tenth faster on float32, a third slower on "
         "int16. Next: repack, after which it is several times as fast again")
_SPREAD = "h5py copies these small pieces as well as we do: 0.91 to 1.00 over runs; the next idea is to repack"
REASONS: dict[str, str] = {
    "ours ÷ copy: (channel, time)": "a window is a thousand runs of 2 or 4 KB, each copied by itself",
    "ours ÷ copy: (channel, time) int16 chunks automatic": "pieces of a few hundred bytes; the next idea is to repack",
    "× naive: (time, channel) float32 contiguous, a tenth": _TENTH,
    "× naive: (time, channel) int16 contiguous, a tenth": _TENTH,
    "× naive: (time, channel) float32 gzip": _GZIP, "× naive: (time, channel) int16 gzip": _GZIP,
    "× naive: (channel, time) float32 gzip": _GZIP, "× naive: (channel, time) int16 gzip": _GZIP,
    "× h5py: (channel, time) int16 chunks 1000x64": _SPREAD,
    "× h5py: (channel, time) int16 chunks automatic": _SPREAD,
}
"""Why a target is missed and what else was tried, by ``measure: beginning of the cell's name`` (the longest fits)."""


@dataclass(frozen=True)
class Target:
    """One ratio with its bound."""

    measure: str
    value: float
    bound: float
    at_most: bool

    @property
    def reached(self) -> bool:
        """Whether the ratio, as it is shown, keeps within its bound."""
        shown = round(self.value, 2)
        return shown <= self.bound if self.at_most else shown >= self.bound

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.measure} {self.value:.2f} ({'at most' if self.at_most else 'at least'} {self.bound:g})"


def ratios(rates: Rates) -> dict[str, float]:
    """The four ratios that targets are about."""
    return {"ours ÷ copy": rates["copy"] / rates["ours"],
            "prefetch ÷ copy": rates["copy"] / rates["ours, prefetch"],
            "× naive": rates["ours, prefetch"] / max(rate for way, rate in rates.items() if way.startswith("naive")),
            "× h5py": rates["ours"] / rates["h5py"]}


def targets(cell: Cell, rates: Rates) -> list[Target]:
    """The targets of a cell. Times beside a memory copy are asked of all channels only: a subset has to touch the cache
    lines of its neighbours. ``ours`` is compared with h5py where both read when asked, the default with naive."""
    found = ratios(rates)
    wanted: list[Target] = []
    if cell.every == 1 and cell.storage == "contiguous":
        wanted += [Target("ours ÷ copy", found["ours ÷ copy"], 1.2, True),
                   Target("prefetch ÷ copy", found["prefetch ÷ copy"], 2.3, True)]
    if cell.every == 1 and cell.storage in _CHUNKS:
        wanted.append(Target("ours ÷ copy", found["ours ÷ copy"], _CHUNKS[cell.storage], True))
    if cell.storage == "contiguous":
        least = 8.0 if cell.by_channel or cell.every > 1 else 5.0
        wanted.append(Target("× naive", found["× naive"], least, False))
    if cell.storage in ("gzip", "lz4"):
        wanted.append(Target("× naive", found["× naive"], 3.0 if cell.storage == "gzip" else 1.5, False))
    return [*wanted, Target("× h5py", found["× h5py"], 1.0, False)]


def reason(cell: Cell, target: Target) -> str:
    """Why the target is missed; empty where nobody has said."""
    fitting = [key for key in REASONS if f"{target.measure}: {cell.name}".startswith(key)]
    return REASONS[max(fitting, key=len)] if fitting else ""


def as_row(cell: Cell, rates: Rates, target: Target) -> dict[str, Any]:
    """What ``python -m benchmarks`` prints and keeps."""
    bound = f"{'at most' if target.at_most else 'at least'} {target.bound:g}"
    row = {"what": f"{cell.name}: {target.measure}", "value": round(target.value, 2), "target": bound,
           "reached": target.reached}
    return row if target.reached else {**row, "reason": reason(cell, target)}


def markdown(measured: list[tuple[Cell, Rates]]) -> str:
    """The whole table: windows per second and ratios, with what is reached."""
    heads = ["storage and channels", "copy", "naive (processes)", "h5py", "dascore", "ours", "prefetch", "ours ÷ copy",
             "prefetch ÷ copy", "× naive", "× h5py", "targets"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 2) + "|---|"]
    for cell, rates in measured:
        best = max((way for way in rates if way.startswith("naive")), key=rates.__getitem__)
        missed = [target for target in targets(cell, rates) if not target.reached]
        said = "reached" if not missed else "MISSED: " + "; ".join(target.text for target in missed)
        dascore = f"{rates['dascore']:.0f}" if "dascore" in rates else "–"
        cells = [cell.name, f"{rates['copy']:.0f}", f"{rates[best]:.0f} ({best.split()[1]})", f"{rates['h5py']:.0f}",
                 dascore, f"{rates['ours']:.0f}", f"{rates['ours, prefetch']:.0f}",
                 *(f"{value:.2f}" for value in ratios(rates).values()), said]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
