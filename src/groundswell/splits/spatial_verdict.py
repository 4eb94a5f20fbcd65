"""splits: the audit in space and time, in sentences; every number in them was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundswell.splits.nearness import Nearness
from groundswell.splits.parts import PARTS, TEST, VALIDATION
from groundswell.splits.spatial_words import joined, metres_text, months_text, percent_text

if TYPE_CHECKING:
    from groundswell.splits.spatial_results import SpatialAudit

FEW = 30
"""Tested samples below which a stratum says too little."""
_BEYOND, _DOMINANT, _FUTURE, _NAMES = 0.1, 0.5, 0.05, 8
_IN_WORDS = {"harder": "much farther from training than a random test",
             "farther": "farther from training than a random test",
             "as random": "no farther from training than a random test",
             "nearer": "nearer to training than a random test"}
SEEN = "seen place"
"""What the names of strata begin with that are meant to lie where training does."""


@dataclass(frozen=True)
class SpatialFinding:
    """A fact in words.

    Attributes:
        kind: such as "buffer" or "season".
        defect: whether scores on this split mean less because of it; otherwise it is worth knowing.
        text: a sentence or two.
    """

    kind: str
    defect: bool
    text: str


def verdict_of(audit: SpatialAudit) -> list[str]:
    """The answers to the two questions of :meth:`SpatialAudit.verdict`, and how many defects there are."""
    defects = sum(finding.defect for finding in findings_of(audit))
    lines = [_harder(audit), _beyond_range(audit)]
    if audit.prediction is not None:
        lines.append(_prediction(audit))
    if defects:
        lines.append("One finding below makes scores on this split mean less than they seem to." if defects == 1 else
                     f"{defects} findings below make scores on this split mean less than they seem to.")
    return lines


def findings_of(audit: SpatialAudit) -> list[SpatialFinding]:
    """All findings, defects first, in the order of looking."""
    looks = (_nearness, _range, _regions, _season, _validation, _labels, _duplicates, _strata)
    found = [SpatialFinding(kind, defect, text) for look in looks for kind, defect, text in look(audit)]
    return sorted(found, key=lambda finding: not finding.defect)


def _harder(audit: SpatialAudit) -> str:
    question, whole, sets = "Is the test harder than a random one?", audit.nearness[0], audit.main_sets()
    if not whole.comparison:
        return f"{question} It was not compared: {_near(whole)}."
    kinds = {kind: [n for n in sets if n.comparison == kind] for kind in _IN_WORDS}
    hard = len(kinds["harder"]) + len(kinds["farther"])
    answer = "Yes" if hard == len(sets) else "Only in part" if hard else "No"
    if sets == [whole]:
        return f"{question} {answer}: it is {_IN_WORDS[whole.comparison]}; {_medians(whole)}."
    parts = [f"{joined(_named(n) for n in members)} {'is' if len(members) == 1 else 'are'} {_IN_WORDS[kind]}"
             for kind, members in kinds.items() if members]
    return f"{question} {answer}: {'; '.join(parts)}. As a whole: {_medians(whole)}."


def _beyond_range(audit: SpatialAudit) -> str:
    question = "Does the gap between test and training exceed the range of autocorrelation?"
    likeness, sets, noun = audit.autocorrelation, audit.main_sets(), audit.labels.noun[0]
    if likeness.why:
        return f"{question} Not known: {likeness.why}."
    if likeness.range_m == 0:
        return (f"{question} There is none to exceed: even the nearest pairs of samples are of one {noun} no more "
                "often than by chance.")
    inside = [n for n in sets if n.near[likeness.range_m] > 0]
    answer = "Yes" if not inside else "No" if len(inside) == len(sets) else "Only in part"
    made = f" The split was made with a buffer of {metres_text(audit.buffer_m)}." if audit.buffer_m else ""
    gaps = "; ".join(f"of “{n.name}” {percent_text(n.near[likeness.range_m])} have training within that, the smallest "
                     f"gap is {metres_text(n.least_m)}" for n in sets)
    return (f"{question} {answer}: pairs of samples are of one {noun} more often than by chance up to {_reach(audit)}; "
            f"{gaps}.{made}")


def _prediction(audit: SpatialAudit) -> str:
    assert audit.prediction is not None
    there, test = audit.prediction.nearness, audit.nearness[0]
    return (f"The {there.count:,} places to predict at have their nearest training sample at a median of "
            f"{metres_text(there.median_m)}, the test at {metres_text(test.median_m)}; the two sets of distances are "
            f"{metres_text(audit.prediction.apart_m)} apart (Wasserstein), those of a random test "
            f"{metres_text(audit.prediction.random_apart_m)}.")


def _reach(audit: SpatialAudit) -> str:
    likeness = audit.autocorrelation
    return f"{'at least' if likeness.open else 'about'} {metres_text(likeness.range_m)}"


def _named(n: Nearness) -> str:
    return f"“{n.name}” ({n.count:,}; median {metres_text(n.median_m)})"


def _near(n: Nearness) -> str:
    return f"the nearest training sample is at a median of {metres_text(n.median_m)}"


def _medians(n: Nearness) -> str:
    spread = n.random_median_m
    assert spread is not None
    return (f"{_near(n)}, in random tests of as many samples at {metres_text(spread.median)} "
            f"({metres_text(spread.low)} to {metres_text(spread.high)} in {n.draws} draws)")


def _nearness(audit: SpatialAudit) -> Iterator[tuple[str, bool, str]]:
    for n in audit.nearness:
        if n.comparison not in ("as random", "nearer") or n.name == PARTS[VALIDATION]:
            continue
        assert n.random_near is not None and n.random_identical is not None
        near = audit.near_m[0] if audit.near_m else min(n.near)
        yield "nearness", not n.name.startswith(SEEN), (
            f"“{n.name}” does not test the step to new places: {_medians(n)}; {percent_text(n.near[near])} of its "
            f"{n.count:,} samples have a training sample within {metres_text(near)} (random: "
            f"{percent_text(n.random_near[near].median)}), {percent_text(n.identical)} at identical coordinates "
            f"(random: {percent_text(n.random_identical.median)}).")


def _range(audit: SpatialAudit) -> Iterator[tuple[str, bool, str]]:
    likeness, noun = audit.autocorrelation, audit.labels.noun[0]
    if likeness.why or likeness.range_m == 0:
        return
    for n in audit.main_sets():
        within = n.near[likeness.range_m]
        if n.comparison in ("harder", "farther") and within > 0:
            yield "buffer", True, (
                f"“{n.name}” has no buffer that reaches beyond the range: its nearest training sample is "
                f"{metres_text(n.least_m)} away, and {percent_text(within)} of its {n.count:,} samples have one "
                f"within {metres_text(likeness.range_m)}. {_costs(audit, n.name)}")
    strong = f", at least twice as often up to {metres_text(likeness.double_m)}" if likeness.double_m else ""
    yield "range", False, (f"Pairs of samples are of one {noun} more often than by chance up to {_reach(audit)}"
                           f"{strong}. A buffer below that leaves neighbours that are alike on both sides.")


def _costs(audit: SpatialAudit, name: str) -> str:
    costs = audit.buffers[name]
    return (f"A buffer of {joined(metres_text(m) for m in costs)} around it would leave out "
            f"{joined(f'{count:,}' for count in costs.values())} training samples.")


def _regions(audit: SpatialAudit) -> Iterator[tuple[str, bool, str]]:
    regions = audit.regions
    close = sorted((r for r in regions if r.gap_m <= audit.autocorrelation.range_m), key=lambda r: r.gap_m)
    if close:
        wide = max(audit.near_m, default=0.0)
        most = max(close, key=lambda r: r.train_near.get(wide, 0))
        about = f"; {most.train_near[wide]:,} lie within {metres_text(wide)} of {most.name}" if audit.near_m else ""
        yield "regions without buffer", True, (
            f"Training samples come as near as {joined(f'{metres_text(r.gap_m)} to {r.name}' for r in close)}{about}.")
    over = {r.name: [f"{side} {share:.0%}".replace("%", " %") for side, share in r.beyond.items() if share >= _BEYOND]
            for r in regions}
    edge = [f"{name} ({joined(sides)})" for name, sides in over.items() if sides]
    if edge:
        verb, whose = ("reaches", "its") if len(edge) == 1 else ("reach", "their")
        yield "regions on the edge", True, (
            f"{joined(edge)} {verb} beyond the box around all data by that share of {whose} extent: a test on the edge "
            "has training on one side only, and part of it is empty.")
    largest = max(regions, key=lambda r: r.test, default=None)
    if largest is not None and len(regions) > 1 and largest.share > _DOMINANT:
        yield "one region dominates", True, (
            f"{largest.name} holds {largest.test:,} of the {sum(r.test for r in regions):,} samples tested in regions "
            f"({percent_text(largest.share)}): a score over all of them is mostly a score of one place.")
    if audit.both:
        strata = joined(f"“{name}” ({count})" for name, count in audit.both.items())
        yield "counted once", False, (
            f"{sum(audit.both.values()):,} tested samples lie in a region and are later than all training; they are "
            f"counted only under {strata}, so that no stratum is of new places in the future alone.")


def _season(audit: SpatialAudit) -> Iterator[tuple[str, bool, str]]:
    season, tested = audit.season, audit.counts[PARTS[TEST]]
    if season is None:
        return
    missing = [m for m in season.train_months if m not in season.future_months]
    later = season.future >= _FUTURE * tested
    if later:
        first, last = season.future_years
        text = (f"{season.future:,} of the {tested:,} tested samples are later than all training, which ends on "
                f"{season.last_train}: they are of {first if first == last else f'{first} to {last}'}, "
                f"{months_text(season.future_months)}")
        if missing:
            yield "season", True, (f"{text}, {len(season.future_months)} of the {len(season.train_months)} months of "
                                   "training: what the season changes cannot be told from what the year changes.")
        else:
            yield "season", False, f"{text}; every month of training is there."
    spread = season.random_difference
    if spread is not None and season.difference > spread.high and not (later and missing):
        yield "months", False, (
            f"The months of training and test differ: {percent_text(season.difference)} of the test would have to be "
            f"of another month to agree (random splits: {percent_text(spread.median)}).")


def _validation(audit: SpatialAudit) -> Iterator[tuple[str, bool, str]]:
    n, test = audit.of(PARTS[VALIDATION]), audit.nearness[0]
    if n is None:
        yield "no validation", True, (
            "There is no validation part: whatever is chosen by its score (an epoch, a network, a threshold) is chosen "
            "on the test, whose best score is then too high.")
    elif 2 * n.median_m < test.median_m:
        yield "easier validation", False, (
            f"Validation is nearer to training (median {metres_text(n.median_m)}) than the test is "
            f"({metres_text(test.median_m)}): what is chosen by it is chosen for nearby places.")


def _labels(audit: SpatialAudit) -> Iterator[tuple[str, bool, str]]:
    labels, count = audit.labels, len(audit.labels.test_only)
    one, many = labels.noun
    if count:
        names = joined([*labels.test_only[:_NAMES], *(["others"] if count > _NAMES else [])])
        yield "unseen labels", True, (
            f"{count:,} {f'{one} of the test is' if count == 1 else f'{many} of the test are'} in no training sample: "
            f"{names} (in all, tested {labels.test_only_samples:,} times). A classifier cannot name what it never saw; "
            "it has to be scored apart.")
    if labels.capped:
        yield "capped labels", True, (
            f"{labels.at_most:,} of {labels.total:,} {many} have exactly {labels.most:,} samples and none has more: "
            "the numbers were capped, so that accuracy is not that at natural abundance.")


def _duplicates(audit: SpatialAudit) -> Iterator[tuple[str, bool, str]]:
    noun = audit.labels.noun[0]
    if audit.twins or audit.same_place:
        yield "duplicates", audit.twins > 0, (
            f"Tested samples with a twin in training of the same {noun}, place and day: {audit.twins:,}; of the same "
            f"{noun} and place on any day: {audit.same_place:,}.")
    for shared in audit.shared:
        if shared.tested and shared.column != "place":
            yield "shared", True, (
                f"Values of {shared.column.replace('_', '-')} that are both in training and in the test: "
                f"{shared.values:,}; tested samples that have one of them: {shared.tested:,}.")


def _strata(audit: SpatialAudit) -> Iterator[tuple[str, bool, str]]:
    few = [n for n in audit.nearness[1:] if n.count < FEW and n.name != PARTS[VALIDATION]]
    if few:
        verb, whose = ("has", "its") if len(few) == 1 else ("have", "their")
        yield "small strata", True, (
            f"{joined(f'“{n.name}” ({n.count})' for n in few)} {verb} fewer than {FEW} tested samples: too few for a "
            f"score of {whose} own.")
