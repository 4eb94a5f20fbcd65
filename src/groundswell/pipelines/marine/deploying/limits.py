"""marine: what keeps a service standing whoever calls: places that run out, and a deadline for all that is sent."""

from __future__ import annotations

import io
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Places:
    """So many of something that may be taken at once; who asks for more is told no, at once.

    Attributes:
        most: of them.
        taken: now.
    """

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0
        self._changed = threading.Condition()

    def take(self, number: int = 1) -> bool:
        """Take so many, or none where they are not there."""
        with self._changed:
            if self.taken + number > self.most:
                return False
            self.taken += number
            return True

    def give(self, number: int = 1) -> None:
        """Give so many back."""
        with self._changed:
            self.taken -= number
            self._changed.notify_all()

    def empty(self, within_s: float | None = None) -> bool:
        """Wait until none is taken, for so many seconds at most; whether it came to that."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.taken, within_s)


class Arriving(io.RawIOBase):
    """What a client sends, until one deadline for all of it: a socket's own timeout begins anew with each byte.

    Args:
        link: to the client; its timeout is ``within_s`` again after each read.
        within_s: seconds from now.

    Raises:
        TimeoutError: when it is read after the deadline, or waits until then.
    """

    def __init__(self, link: socket.socket, within_s: float) -> None:
        self._link, self._within_s, self._end = link, within_s, time.monotonic() + within_s

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, into: WriteableBuffer, /) -> int:
        """Read what is there, or wait for it."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self._link.settimeout(left)
        try:
            return self._link.recv_into(into)
        finally:
            self._link.settimeout(self._within_s)
