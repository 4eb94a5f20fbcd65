"""marine: the one door to OpenCV."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from groundswell.core.optional import require


@cache
def cv2() -> Any:
    """The module ``cv2``, set to one thread (who calls it decides on parallel work) and to answer alike everywhere.

    Raises:
        MissingExtraError: the extra ``marine`` is not installed.
    """
    # Videos: FFmpeg, which OpenCV holds, would complain on stderr in its own words; our errors say what is wrong.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    module = require("cv2", extra="marine", purpose="Reading and writing images")
    module.setNumThreads(1)
    module.ocl.setUseOpenCL(False)
    return module
