"""Files that cannot be opened because their disk or network drive went away while they were read:
that is no failure of theirs."""

import os
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from kirik.errors import KirikError
from kirik.files import shown
from kirik.reading.reading import Failure, Reading

REASONS = frozenset({"missing", "no_permission", "unreadable"})
"""Why a file cannot be opened: its own fault, or its machine's or store's."""
_MANY = 20
"""Somebody may take a patient's folder away meanwhile, but not all. Of as many files some may have
been opened before the one that comes before them."""


class OutageError(KirikError):
    """Files that were found cannot be opened any more, nor their folders be looked into."""


def until_outage(
    results: Iterable[Reading | Failure], known: Container[str]
) -> Iterator[Reading | Failure]:
    """The same results up to the first failure of an outage: where many follow, with few readings
    between, or where the list ends with it.

    known: paths that could not be opened when they were looked for. Raises OutageError in the place
    of that failure.
    """
    held: list[Reading | Failure] = []
    away = read = 0
    for result in results:
        if held and result.path in known:
            held.append(result)
        elif result.path not in known and _is_away(result):
            held.append(result)
            away, read = away + 1, 0
            if away == _MANY:
                break
        elif held:
            held.append(result)
            read += 1
            if read == _MANY:
                yield from held
                held.clear()
                away = 0
        else:
            yield result
    if held:
        raise OutageError(
            f"{shown(held[0].path)}: cannot be opened any more, nor its folder be looked into; "
            "nothing more was read: see to its disk or network drive"
        )


def _is_away(result: Reading | Failure) -> bool:
    """Whether a file that could not be opened is gone with its folder, or was for a moment."""
    if not isinstance(result, Failure) or result.reason not in REASONS:
        return False
    if os.path.lexists(result.path):  # a link that leads nowhere, for one
        return result.reason == "missing" and os.path.exists(result.path)  # noqa: PTH110
    try:
        with os.scandir(Path(result.path).parent) as entries:
            return next(entries, None) is None  # where a disk was
    except NotADirectoryError:  # a zip that is there
        return False
    except (OSError, ValueError):
        return True
