"""What else is known of a radiograph: its regions, its views, whether hardware is in it.

A network that also has to tell these apart learns more from the same radiographs, and a reading
can say what it looked at.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from kirik.dataset.index import Record

LEAST = 20
"""Radiographs that must have an attribute, and that must lack it, before it is learned."""


def attribute_names(records: Sequence[Record]) -> tuple[str, ...]:
    """Attributes common enough to learn: `region:hand`, `view:lateral`, `hardware`, sorted."""
    having = Counter(name for record in records for name in _had(record))
    known = Counter(kind for record in records for kind in _known(record))
    return tuple(
        sorted(
            name
            for name, count in having.items()
            if min(count, known[name.split(":")[0]] - count) >= LEAST
        )
    )


def attribute_table(records: Sequence[Record], names: Sequence[str]) -> np.ndarray:
    """float32 [records, names]: 1 where a record has an attribute, 0 where not, NaN if unknown."""
    table = np.full((len(records), len(names)), np.nan, np.float32)
    for row, record in zip(table, records, strict=True):
        had, known = _had(record), _known(record)
        for column, name in enumerate(names):
            if name.split(":")[0] in known:
                row[column] = name in had
    return table


def _had(record: Record) -> set[str]:
    named = {f"region:{name}" for name in record.region} | {f"view:{name}" for name in record.view}
    return named | ({"hardware"} if record.hardware else set())


def _known(record: Record) -> set[str]:
    known = {"region": bool(record.region), "view": bool(record.view)}
    known["hardware"] = record.hardware is not None
    return {kind for kind, there in known.items() if there}
