"""Keeps the talk of Pillow and pydicom off the terminal and out of logs while kirik decodes.

What they say can hold a tag's value, and so a patient's name; what is wrong with a file reaches
the user as kirik's own error. The libjpeg in GDCM writes to the process's standard error by itself
("Corrupt JPEG data"), numbers at most; that belongs to all threads, and so is left as it is.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = (
    *("pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils"),
    *("openjpeg.decode", "openjpeg.utils"),
)

_here = threading.local()
_lock = threading.Lock()
_inside = 0
_filters: warnings.catch_warnings | None = None


@contextmanager
def quiet_decoding() -> Iterator[None]:
    """Silence Pillow's and pydicom's warnings and logs; safe to be in with several threads."""
    _enter()
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1
        _leave()


def _enter() -> None:
    # Warning filters belong to the process: the first thread in sets them, the last one out
    # puts back what it found, or one thread would bring another's filters back too early.
    global _inside, _filters
    with _lock:
        if _inside == 0:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.|pydicom|openjpeg|jpeg_ls|kirik\.dicom")
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            _filters.__exit__(None, None, None)


def _let_through(record: logging.LogRecord) -> bool:
    return not getattr(_here, "depth", 0)


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_let_through)
