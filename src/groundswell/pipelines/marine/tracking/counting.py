"""marine: counting animals, each once, and alerts for the species that matter most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from groundswell.pipelines.marine.tracking.bytetrack import Sighting, Track

Priority = Callable[[str], str] | Mapping[str, str]
"""Name of a class to its priority: critical, important or general; "" where it has none."""
CRITICAL = "critical"


@dataclass(frozen=True)
class Alert:
    """An animal of a critical species was counted.

    Attributes:
        time_s, frame: when, seconds and number of the frame in the recording.
        track: its number.
        species: its class then.
        score: its mean score until then.
        box: where it was, left, top, right, bottom, pixels.
    """

    time_s: float
    frame: int
    track: int
    species: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class SpeciesCount:
    """How many animals of a class were counted.

    Attributes:
        species, priority: its name and priority ("" where it has none).
        count: animals.
        most_at_once: most of them in one frame (the MaxN of those who count fish in videos), never above count.
        first_s, last_s: when the first was first and the last was last found; None where none was.
    """

    species: str
    priority: str
    count: int
    most_at_once: int
    first_s: float | None
    last_s: float | None


def priority_of(priority: Priority | None, species: str) -> str:
    """The priority of a class by name; "" where none is known."""
    if priority is None:
        return ""
    return priority(species) if callable(priority) else priority.get(species, "")


class Counter:
    """Counts tracks once they have hits enough, each once, under the class that most of its scores speak for.

    Where that class changes while an animal is followed, its count moves with it; an alert is given as soon as a
    counted animal is of a critical species, once for each animal.

    Attributes:
        counted: tracks that were counted, in the order in which they were. They grow with the animals, not with frames.
    """

    def __init__(self, classes: Sequence[str], min_hits: int, priority: Priority | None = None) -> None:
        self.classes, self.min_hits = tuple(classes), min_hits
        self.counted: list[Track] = []
        self._priority = [priority_of(priority, species) for species in self.classes]
        self._under: dict[int, int] = {}
        self._alerted: set[int] = set()
        self._running, self._most = [0] * len(self.classes), [0] * len(self.classes)

    def update(self, sightings: Sequence[Sighting], time_s: float, frame: int) -> list[Alert]:
        """Take a frame's sightings; returns the alerts it gives."""
        alerts, at_once = [], [0] * len(self.classes)
        for sighting in sightings:
            track = sighting.track
            if track.hits < self.min_hits:
                continue
            self._count(track)
            label = track.label
            at_once[label] += 1
            if self._priority[label] == CRITICAL and track.number not in self._alerted:
                self._alerted.add(track.number)
                left, top, right, bottom = (float(edge) for edge in sighting.box)
                alerts.append(Alert(time_s, frame, track.number, self.classes[label], track.mean_score,
                                    (left, top, right, bottom)))
        self._most = [max(pair) for pair in zip(self._most, at_once, strict=True)]
        return alerts

    def forget(self, ended: Sequence[Track]) -> None:
        """These tracks will not be seen again: only what is counted of them is kept."""
        for track in ended:
            self._under.pop(track.number, None)
            self._alerted.discard(track.number)

    def running(self) -> dict[str, int]:
        """Animals counted so far, of the classes that have any."""
        return {species: count for species, count in zip(self.classes, self._running, strict=True) if count}

    def counts(self) -> list[SpeciesCount]:
        """Every class, those of which none was counted too, in their order."""
        times: dict[int, tuple[float, float]] = {}
        for track in self.counted:
            first, last = times.get(track.label, (track.first_s, track.last_s))
            times[track.label] = (min(first, track.first_s), max(last, track.last_s))
        # A class that lost its animals to another in the end was never seen.
        return [SpeciesCount(species, self._priority[label], self._running[label],
                             min(self._most[label], self._running[label]), *times.get(label, (None, None)))
                for label, species in enumerate(self.classes)]

    def _count(self, track: Track) -> None:
        label, before = track.label, self._under.get(track.number)
        if before is None:
            self.counted.append(track)
        elif before != label:
            self._running[before] -= 1
        if before != label:
            self._running[label] += 1
            self._under[track.number] = label
