"""splits: distances, shares and months as a person says them."""

from __future__ import annotations

from calendar import month_name
from collections.abc import Iterable, Sequence


def metres_text(metres: float) -> str:
    """A distance as a person says it: 49 m, 2.3 km, 115 km."""
    if metres < 999.5:
        return f"{metres:.0f} m"
    text = f"{metres / 1000:.1f}" if metres < 99_950 else f"{metres / 1000:,.0f}"
    return f"{text.removesuffix('.0')} km"


def percent_text(share: float) -> str:
    """A share as a percentage with one decimal that is 0 or 100 only where the share is."""
    if 0 < share < 0.0005 or 0.9995 < share < 1:
        return "<0.1 %" if share < 0.5 else ">99.9 %"
    return "0 %" if share == 0 else "100 %" if share == 1 else f"{100 * share:.1f} %"


def months_text(months: Sequence[int]) -> str:
    """Months by name, runs as "January to May"."""
    runs: list[list[int]] = []
    for month in months:
        if runs and runs[-1][-1] == month - 1:
            runs[-1].append(month)
        else:
            runs.append([month])
    return joined(month_name[r[0]] if len(r) == 1 else f"{month_name[r[0]]} to {month_name[r[-1]]}" for r in runs)


def joined(words: Iterable[str]) -> str:
    """Words with commas and a last "and"."""
    several = list(words)
    return several[0] if len(several) == 1 else f"{', '.join(several[:-1])} and {several[-1]}" if several else ""
