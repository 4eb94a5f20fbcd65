"""biodiversity: what a benchmark of a store says: a table, ratios, and what becomes of the promised 50 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundswell.pipelines.biodiversity.bench_ways import COPY, ENDPOINT, MEANING, READ, USUAL

if TYPE_CHECKING:
    from groundswell.pipelines.biodiversity.bench import BenchReport, TierReport, Timing
    from groundswell.pipelines.biodiversity.bench_limits import Limits

PROMISED_MS = 50.0
"""Of a batch, from the work that this pipeline grew from."""


def verdict(size: int, stored: int, asked: int, warm: Timing, batch_size: int, limits: Limits,
            cold: Timing | None) -> tuple[str, str]:
    """What becomes of the 50 ms for a batch, and why.

    Args:
        size: bytes of a batch as delivered.
        stored: bytes of a batch in the files.
        asked: vectors in a batch.
        warm: timing of batches of ``batch_size`` vectors.
        batch_size: vectors in the batches that were timed.
        limits: of the machine.
        cold: timing of cold batches.

    Returns:
        ``holds``, ``cannot`` or ``missed`` for a warm batch, and sentences.
    """
    least = 1e3 * size / limits.copy
    took = warm.p95_ms * asked / batch_size
    if least > PROMISED_MS:
        fit = int(PROMISED_MS * asked / least)
        said = "cannot", (f"cannot hold on this machine: {asked} vectors are {size / 1e6:,.0f} MB, and copying so much "
                          f"from memory to memory takes {least:,.0f} ms at the measured {limits.copy / 1e9:.1f} GB/s; "
                          f"50 ms are enough for {fit} vectors. Measured: p95 {took:,.0f} ms")
    elif took <= PROMISED_MS:
        said = "holds", f"holds: p95 {took:.3g} ms warm"
    else:
        said = "missed", f"missed: p95 {took:.3g} ms warm, where a copy in memory takes {least:.3g} ms"
    if cold is None:
        return said
    late = cold.p95_ms * asked / batch_size
    disk = 1e3 * stored / limits.disk if limits.disk else None
    more = f"; cold p95 {late:,.3g} ms" + (f", the disk alone {disk:,.3g} ms" if disk is not None else "")
    return said[0], said[1] + more


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
        shape = "x".join(map(str, tier.shape))
        served = (f"; get_training_batch 1/{1 / tier.ratios[ENDPOINT]:.1f} of the {ENDPOINT}"
                  if ENDPOINT in tier.ratios else "")
        lines.append(f"{tier.table} ({tier.rows:,} x {shape} {tier.dtype}, a batch {tier.bytes / 1e6:,.3g} MB): {READ} "
                     f"takes {tier.ratios[COPY]:.2f} times the {COPY}, 1/{1 / tier.ratios[USUAL]:.1f} of the "
                     f"{USUAL}{served}.")
        lines.append(f"  Under 50 ms a batch: {tier.words}.")
    lines += ["", *report.notes, *(f"{name}: {MEANING[name]}" for name in MEANING
                                   if any(name in tier.warm for tier in report.tiers)),
              "Vectors and ids of every batch were compared, and are equal."]
    return "\n".join(lines)


def _row(tier: TierReport, name: str, limits: Limits) -> tuple[str, ...]:
    warm, cold = tier.warm[name], tier.cold.get(name)
    rate = tier.bytes / (warm.p50_ms / 1e3)
    of_disk = f"{tier.stored_bytes / (cold.p50_ms / 1e3) / limits.disk:.0%}" if cold and limits.disk else ""
    return (tier.table, name, f"{warm.p50_ms:.3g}", f"{warm.p95_ms:.3g}", f"{rate / 1e9:.2f}",
            f"{rate / tier.copy_rate:.0%}", f"{cold.p50_ms:.3g}" if cold else "", f"{cold.p95_ms:.3g}" if cold else "",
            of_disk)
