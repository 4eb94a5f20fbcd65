"""biodiversity: what a benchmark of a store says: a table, ratios, and what becomes of the promised 50 ms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundswell.pipelines.biodiversity.bench_ways import BATCH, COPY, ENDPOINT, MEANING, READ, USUAL

if TYPE_CHECKING:
    from groundswell.pipelines.biodiversity.bench import BenchReport, TierReport
    from groundswell.pipelines.biodiversity.bench_limits import Limits

PROMISED_MS = 50.0
"""Of a batch, from the work that this pipeline grew from."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of the 50 ms for a batch.

    Attributes:
        warm: ``holds``, ``cannot`` (copying as much in memory takes longer) or ``missed``, of the 95th percentile.
        cold: the same where nothing is in memory (``cannot``: the disk alone takes longer); None if not measured.
        words: a sentence on each.
    """

    warm: str
    cold: str | None
    words: tuple[str, ...]


def verdict(size: float, stored: float, asked: int, limits: Limits, warm: float, cold: float | None = None,
            served: float | None = None) -> Verdict:
    """Judge a batch.

    Args:
        size: bytes of a batch as delivered.
        stored: bytes of a batch in the files.
        asked: vectors in a batch.
        limits: of the machine.
        warm: 95th percentile, ms, of a warm batch.
        cold: of a cold batch.
        served: of a warm batch from the endpoint.
    """
    state, said = _judged("Warm", warm, size, limits.copy, asked, "copying so much in memory")
    words, cold_state = [said], None
    if cold is not None:
        cold_state, said = _judged("Cold", cold, stored, limits.disk, asked, "reading so much from the disk")
        words.append(said)
    if served is not None:
        words.append(f"Over the {ENDPOINT}: p95 {_ms(served)} ms.")
    return Verdict(state, cold_state, tuple(words))


def _judged(name: str, took: float, moved: float, rate: float | None, asked: int, doing: str) -> tuple[str, str]:
    least = 1e3 * moved / rate if rate else 0.0
    because = f"{doing} takes {_ms(least)} ms at the measured {rate / 1e9:.2g} GB/s" if rate else ""
    if least > PROMISED_MS:
        fit = int(PROMISED_MS * asked / least)
        return "cannot", (f"{name}: less than 50 ms cannot be on this machine. A batch is {moved / 1e6:,.0f} MB, and "
                          f"{because}; 50 ms are enough for {fit or 'not one'} of {asked} vectors. p95 {_ms(took)} ms.")
    if took <= PROMISED_MS:
        return "holds", f"{name}: less than 50 ms holds, p95 {_ms(took)} ms."
    return "missed", f"{name}: less than 50 ms is missed, p95 {_ms(took)} ms" + (f"; {because}." if because else ".")


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table_text(report: BenchReport) -> str:
    """The report for a terminal."""
    limits = report.limits
    disk = f"{limits.disk / 1e9:.2f} GB/s" if limits.disk else "not measured"
    simulated = " (simulated vectors)" if report.simulated else ""
    lines = [f"Store {report.store}{simulated}, batches of {report.batch_size}. Limits of this machine: memory to "
             f"memory {limits.copy / 1e9:.1f} GB/s ({limits.copy_one / 1e9:.1f} by one thread of {limits.cores}), "
             f"disk {disk}.", ""]
    head: tuple[str, ...] = ("table", "way", "warm p50", "p95 ms", "GB/s", "of copy", "cold p50", "p95 ms", "of disk")
    rows = [head]
    for tier in report.tiers:
        rows += [_row(tier, name, limits) for name in tier.warm]
    width = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        lines.append("  ".join(cell.ljust(width[i]) if i < 2 else cell.rjust(width[i]) for i, cell in enumerate(row)))
    lines.append("")
    for tier in report.tiers:
        lines += _sentences(tier)
    used = {name for tier in report.tiers for name in tier.warm}
    lines += ["", *report.notes, *(f"{name}: {MEANING[name]}." for name in MEANING if name in used),
              "of copy: GB/s as a share of one plain copy of as many bytes (256 MiB at most) by one thread, again and "
              "again from the same place; of disk: bytes in the files by cold p50, as a share of reading a file from "
              "end to end.",
              "torch had one thread, as in a worker of its loader. Vectors and ids of every batch of every way were "
              "compared with the files, and are equal."]
    return "\n".join(lines)


def _sentences(tier: TierReport) -> list[str]:
    shape, counts = "x".join(map(str, tier.shape)), f"{tier.warm[READ].runs} batches warm"
    if tier.cold:
        counts += f", {tier.cold[READ].runs} cold"
    size = f"{tier.bytes / 1e6:,.3g} MB" if tier.bytes < 1e9 else f"{tier.bytes / 1e9:.3g} GB"
    stored = f", in the files {tier.stored_bytes / tier.bytes:.0%} of it" if tier.stored_bytes != tier.bytes else ""
    served = (f" {BATCH} takes {tier.ratios[ENDPOINT]:.2f} of the time of the {ENDPOINT}."
              if ENDPOINT in tier.ratios else "")
    return [f"{tier.table}: {tier.rows:,} rows of {shape} {tier.dtype}; a batch of {tier.batch_size} is {size}{stored}"
            f"; {counts}.",
            f"  {READ} takes {tier.ratios[COPY]:.2f} of the time of the {COPY}, and is {1 / tier.ratios[USUAL]:.1f} "
            f"times as fast as the {USUAL}.{served}",
            *(f"  {words}" for words in tier.words)]


def _row(tier: TierReport, name: str, limits: Limits) -> tuple[str, ...]:
    warm, cold = tier.warm[name], tier.cold.get(name)
    rate = tier.bytes / (warm.p50_ms / 1e3)
    of_disk = f"{tier.distinct_bytes / (cold.p50_ms / 1e3) / limits.disk:.0%}" if cold and limits.disk else ""
    return (tier.table, name, _ms(warm.p50_ms), _ms(warm.p95_ms), f"{rate / 1e9:.2f}", f"{rate / tier.copy_rate:.0%}",
            _ms(cold.p50_ms) if cold else "", _ms(cold.p95_ms) if cold else "", of_disk)
