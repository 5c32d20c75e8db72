"""Source: TFDS's own download, from the hosts of the data set's authors.

Knows how to find out within seconds whether such a host answers at all, so that a machine without
that network goes on to the next source at once.
"""

from __future__ import annotations

import threading
import urllib.request

from tfcompress.data.dataset import Published
from tfcompress.data.sources import Request, SourceUnavailableError, _tfds
from tfcompress.data.texts import PublishedTexts

PROBE_SECONDS = 10.0


def obtain(request: Request) -> Published | PublishedTexts:
    """Downloads and prepares the data set with TFDS, if its host answers within `PROBE_SECONDS`.

    Raises:
      SourceUnavailableError: the host does not answer, or the download or its checksum failed.
    """
    made = _tfds.builder(request)
    for url in list(made.url_infos or ())[:1]:
        reason = unreachable(url, seconds=PROBE_SECONDS)
        if reason:
            raise SourceUnavailableError(f"{url} does not answer ({reason}).")
    _tfds.prepare(made)
    return _tfds.read(made, request, source="download")


def unreachable(url: str, *, seconds: float) -> str:
    """Why a URL does not answer, or "" when its first byte comes in time.

    The whole try is bounded, name look-up included, which a socket's timeout alone does not do.

    Args:
      url: of a file; its first byte is asked for.
      seconds: bound on the whole try.
    """
    reasons = [f"no answer in {seconds:g} s"]

    def probe() -> None:
        asked = urllib.request.Request(url, headers={"Range": "bytes=0-0"})
        try:
            with urllib.request.urlopen(asked, timeout=seconds) as answer:
                answer.read(1)
            reasons[0] = ""
        except (OSError, ValueError) as error:
            reasons[0] = str(error)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds)
    return reasons[0]
