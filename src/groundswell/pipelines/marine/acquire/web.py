"""marine: how web servers are spoken to: how long one waits for them, and which addresses are followed at all."""

from __future__ import annotations

import random
import re
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from groundswell.core.errors import InputError
from groundswell.core.seeds import derive_seed

SLOWEST = 100.0
"""Bytes a second below which a connection counts as stalled."""
LEAP = 1 << 20
"""An attempt that brought so many bytes does not count: a large file may break off often and still arrive."""
LATER = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524})
"""Answers that another attempt may change."""


_ALLOWED = "%/:=&?~+!$,;'@()*[]"
_STRAY = re.compile("%(?![0-9A-Fa-f]{2})")


def plain_address(url: str) -> str:
    """An address as it goes over the wire: what its path and query may not hold is quoted; what is quoted stays.

    Raises:
        InputError: it is none of a web server.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", parts.netloc)
        (parts.hostname or "").encode("idna")
        good = good and parts.port != 0
        path, query = (quote(_STRAY.sub("%25", part), _ALLOWED) for part in (parts.path, parts.query))
    except ValueError:  # stray brackets, a port or a host that is none, half a surrogate pair
        good = False
    if not good:
        raise InputError(f"'{url}' is no address of a web server", fix="Give one that begins with https://")
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


class Stopped(Exception):
    """The caller asked to stop; what has arrived stays."""


@dataclass(frozen=True)
class Patience:
    """How often a file is tried, and how long is waited.

    Attributes:
        tries: attempts in a row that brought less than :data:`LEAP`.
        wait_s: shortest wait before the second attempt; twice as long before each further one.
        longest_s: longest wait.
        stall_s: longest time without a byte, and with fewer than :data:`SLOWEST` a second.
        seed: of the chance by which a wait is up to twice as long, so that many do not come back at once.
    """

    tries: int = 5
    wait_s: float = 2.0
    longest_s: float = 60.0
    stall_s: float = 30.0
    seed: int = 0

    def pause(self, attempt: int, name: str) -> float:
        """Seconds to wait after an attempt, counted from 0; the same for the same seed and name."""
        chance = random.Random(derive_seed(self.seed, "pause", name, attempt)).random()
        return min(self.longest_s, self.wait_s * 2.0**attempt * (1 + chance))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server's signposts, but never from an encrypted connection to an open one."""

    def redirect_request(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any,
                         newurl: str) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise InputError("The server leads from an encrypted connection to an open one", where=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener() -> urllib.request.OpenerDirector:
    """Opens http and https and nothing else: no files, no FTP."""
    made = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPHandler,
                    urllib.request.HTTPSHandler, urllib.request.HTTPDefaultErrorHandler, _Redirects,
                    urllib.request.HTTPErrorProcessor):
        made.add_handler(handler())
    return made
