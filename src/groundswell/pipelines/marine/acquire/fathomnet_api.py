"""marine: what FathomNet says of the images of a concept, asked through its own package, each record checked."""

from __future__ import annotations

import math
import re
import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, urlsplit

from groundswell.core.errors import FailureError, InputError
from groundswell.core.optional import require
from groundswell.pipelines.marine.acquire.web import LATER, Patience, Stopped, plain_address

_UUID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{3,63}")
_STATUS = re.compile(r"(?:Client|Server) error \((\d+)\)")


@dataclass(frozen=True)
class Box:
    """A box: its concept, left, top, width and height in pixels of the original image, and whether it is a group."""

    concept: str
    left: float
    top: float
    width: float
    height: float
    group: bool = False


@dataclass(frozen=True)
class Record:
    """An image: its identity, where it lies, its size, what is known of it, and its boxes.

    ``clip`` is who took it and the local day: what one dive or deployment took must not straddle a split.
    """

    uuid: str
    url: str
    width: int | None = None
    height: int | None = None
    time: str = ""
    latitude: float | None = None
    longitude: float | None = None
    depth_m: float | None = None
    clip: str = ""
    boxes: tuple[Box, ...] = ()


@dataclass
class Answer:
    """What the server holds for a concept.

    Attributes:
        records: images that can be used.
        unreadable: records and boxes that cannot.
        rejected: boxes that reviewers rejected.
    """

    records: list[Record] = field(default_factory=list)
    unreadable: int = 0
    rejected: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Any) -> Answer:
        """What :meth:`to_dict` gave."""
        records = [Record(**row | {"boxes": tuple(Box(**box) for box in row["boxes"])}) for row in value["records"]]
        return cls(records, int(value["unreadable"]), int(value["rejected"]))


class FathomNet:
    """Asks FathomNet, or a server that speaks as it does.

    Args:
        endpoint: address; FathomNet's own when empty.
        patience: tries and waits of one question.
        stop: ends a wait.

    Raises:
        MissingExtraError: the package fathomnet is not installed.
        InputError: the address is none.
    """

    def __init__(self, endpoint: str = "", patience: Patience | None = None,
                 stop: threading.Event | None = None) -> None:
        api = require("fathomnet.api.images", extra="marine", purpose="Downloading from FathomNet")
        self._dto = require("fathomnet.dto", extra="marine", purpose="Downloading from FathomNet")
        self.endpoint = plain_address(endpoint).rstrip("/") if endpoint else str(api.Images.ROOT)
        # A class of our own: the package keeps one address for the whole process.
        self._images: Any = type("Images", (api.Images,), {"ROOT": self.endpoint})
        self._patience, self._stop = patience or Patience(), stop or threading.Event()

    def of_concept(self, concept: str) -> Answer:
        """Images with a box of exactly this concept, each once, by uuid.

        Raises:
            FailureError: the server does not answer sensibly in so many tries.
            InputError: it refuses.
        """
        answer, seen = Answer(), set()
        for row in self._asked(concept):
            record = self._record(row, answer)
            if record is None:
                answer.unreadable += 1
            elif record.uuid not in seen:
                seen.add(record.uuid)
                answer.records.append(record)
        answer.records.sort(key=lambda record: record.uuid)
        return answer

    def _asked(self, concept: str) -> list[Any]:
        told = ""
        for attempt in range(self._patience.tries):
            try:
                # The package sets no limit of time, and would wait for ever.
                value = self._images.get(f"query/concept/{quote(concept, safe='')}", timeout=self._patience.stall_s)
                if isinstance(value, list):
                    return value
                told = "the answer is no list"
            except (OSError, ValueError) as error:  # requests' errors are OSErrors, and malformed JSON a ValueError
                told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                status = _STATUS.match(told)
                if status and int(status[1]) == 404:
                    return []
                if told.startswith(("Unauthorized", "Forbidden")) or (status and int(status[1]) not in LATER):
                    raise InputError(f"The server refuses '{concept}': {told}", where=self.endpoint) from error
            last = attempt == self._patience.tries - 1
            if not last and self._stop.wait(self._patience.pause(attempt, concept)):
                raise Stopped
        raise FailureError(f"The server cannot be asked for '{concept}' in {self._patience.tries} attempts: {told}",
                           where=self.endpoint, fix="Run again later; what has arrived stays")

    def _record(self, row: Any, answer: Answer) -> Record | None:
        try:
            image = self._dto.AImageDTO.from_dict(row)
            plain_address(image.url or "")
        except (TypeError, ValueError, InputError):
            return None
        if not (image.uuid and _UUID.fullmatch(image.uuid)):
            return None
        boxes: list[Box] = []
        for box in image.boundingBoxes or []:
            if box.rejected or getattr(box.reviewState, "value", "") == "REJECTED":
                answer.rejected += 1
            elif not box.concept or None in (box.x, box.y, box.width, box.height):
                answer.unreadable += 1
            else:
                boxes.append(Box(box.concept, float(box.x), float(box.y), float(box.width), float(box.height),
                                 bool(box.groupOf)))
        time = _moment(image.timestamp)
        return Record(image.uuid, image.url, image.width or None, image.height or None,
                      time.isoformat() if time else "", _finite(image.latitude), _finite(image.longitude),
                      _finite(image.depthMeters), _clip(image, time), tuple(boxes))


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _clip(image: Any, time: datetime | None) -> str:
    """Who took it, as a digest, and the day by the sun: dives seldom go on past midnight there, but often in UTC."""
    if time is None:
        address = urlsplit(image.url)
        return f"{address.netloc}{address.path.rpartition('/')[0]}"
    who = blake2b((image.contributorsEmail or "").encode(), digest_size=4).hexdigest()
    try:
        day = (time + timedelta(hours=(_finite(image.longitude) or 0.0) / 15)).date()
    except OverflowError:
        day = time.date()
    return f"{who} {day.isoformat()}"
