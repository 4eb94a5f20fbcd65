"""das: looking into files in a process of its own, because a damaged file can bring down the library that reads it.

HDF5 follows addresses inside the file; wrong ones lead it to crash, or round in circles for ever.

Parent and worker exchange lines of JSON: a path and whether to look at values, answered by a ``Looked``.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Self

from groundswell.pipelines.das.formats.looking import Looked, look_at

LIMIT_S = 300.0
"""How long one file may take: health touches about half a gigabyte at most, which slow disks deliver in time."""


class Apart:
    """A worker process that looks into files, started at the first one and again after a crash.

    It is left alone by an interrupt from the keyboard, which its parent handles, and ends with its parent.

    Args:
        limit_s: a file that takes longer is given up.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.limit_s = limit_s
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def look(self, path: Path, *, health: bool) -> Looked:
        """Look into one file; see :func:`look_at`. A crash is its reason, and the next file finds a new worker."""
        if self.process is None:
            self.process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(json.dumps([str(path), health]).encode() + b"\n")
            stdin.flush()
            if not select.select([stdout], [], [], self.limit_s)[0]:
                self.close()
                return Looked(path, reason=f"The file was given up: the library that reads it had not come back after "
                                           f"{self.limit_s:g} s. It is probably damaged")
            answer = stdout.readline()
        except BrokenPipeError:
            answer = b""
        if answer.endswith(b"\n"):
            return Looked.from_json(json.loads(answer))
        status = self.process.wait()
        self.close()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return Looked(path, reason=f"The file is damaged: it brought down the library that reads it ({how})")

    def close(self) -> None:
        """End the worker."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # what it did not live to read


def serve() -> None:
    """The worker: answer each line until there are no more. Nothing else may reach the stream of answers."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin.buffer:
        path, health = json.loads(line)
        answers.write(json.dumps(look_at(Path(path), health=health).to_json()).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    serve()
