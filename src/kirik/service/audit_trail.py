"""Who did what and when: lines that are only ever added, each chained to the one before it.

A line's hash is SHA-256 over the hash before it and the line's canonical JSON, so that a changed,
removed or inserted line breaks the chain from there on; triggers refuse such changes to begin
with. Whoever rules the database could write the whole chain anew: note the head's hash elsewhere
from time to time (`kirik audit verify` prints it), and check later that the chain still has it.

No patient's data may stand in a line: studies are named by their ids.
"""

import hashlib
import json
from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from kirik.service.engine import counted
from kirik.service.tables import Counter, Entry, now

START = "0" * 64
"""The hash before the first line."""

_PENDING = "trail lines"
_FIELDS = ("number", "at", "who", "action", "subject", "details")
_ADD = insert(Entry.__table__)
_END = select(Counter.value, Counter.text).where(Counter.name == "trail")
_NOTE_HEAD = update(Counter.__table__).where(Counter.name == "trail").values(text=bindparam("head"))


@dataclass(frozen=True)
class Verified:
    """What a look through the whole chain found.

    entries: how many lines were looked at. head: the last good line's hash. broken: the first line
    that does not fit, and `problem` why. noted: whether the head that was asked for is in it.
    """

    ok: bool
    entries: int
    head: str
    broken: int | None = None
    problem: str | None = None


def record(session: Session, who: str, action: str, subject: str = "", **details) -> None:
    """Add a line when the writing block ends.

    who: the principal's name. action: a noun and a verb, such as "study.deleted".
    subject: what it was done to, such as a study's id. details: plain values for JSON.
    """
    line = {
        "at": now().isoformat(timespec="microseconds"),
        "who": who[:80],
        "action": action,
        "subject": subject[:200],
        "details": json.dumps(details, sort_keys=True, ensure_ascii=True, allow_nan=False),
    }
    session.info.setdefault(_PENDING, []).append(line)


def write(session: Session) -> None:
    """Number and chain the lines that the block recorded; the engine calls it at the block's end.

    The counter's row is locked until the commit: lines follow each other one by one.
    """
    lines = session.info.pop(_PENDING, ())
    if not lines:
        return
    last, previous = counted(session, "trail", len(lines))
    for number, line in enumerate(lines, last - len(lines) + 1):
        line |= {"number": number, "previous": previous}
        line["hash"] = previous = _hash(line, previous)
    connection = session.connection()
    connection.execute(_ADD, lines)
    connection.execute(_NOTE_HEAD, {"head": previous})


def entries(session: Session, before: int | None = None, limit: int = 50) -> list[Entry]:
    """Lines, the newest first. before: only those with a lower number."""
    asked = select(Entry).order_by(Entry.number.desc()).limit(limit)
    return list(session.scalars(asked.where(Entry.number < before) if before else asked))


def verify(session: Session, head: str | None = None) -> Verified:
    """Look through the chain, and say where it first breaks. Lines may be added meanwhile.

    head: a hash that was noted before; the chain must still have it.
    """
    # On PostgreSQL each statement sees what was committed before it: the lines that were counted
    # first must be there, and those that came since must be counted at last.
    first = session.execute(_END).one()
    number, previous, noted = 0, START, head in (None, START)
    end = START if first.value == 0 else None
    rows = session.scalars(select(Entry).order_by(Entry.number).execution_options(yield_per=2000))
    for entry in rows:
        problem = _problem(entry, number + 1, previous)
        if problem:
            return Verified(False, number, previous, number + 1, problem)
        number, previous = entry.number, entry.hash
        noted = noted or previous == head
        end = previous if number == first.value else end
        session.expunge(entry)
    last = session.execute(_END).one()
    added = number > last.value or (number == last.value and previous != last.text)
    if end != first.text or added:
        why = "lines are missing from the end, or were added there unseen"
        return Verified(False, number, previous, min(number, last.value) + 1, why)
    if not noted:
        why = "the hash that was noted is not in the chain: it was written anew"
        return Verified(False, number, previous, 1, why)
    return Verified(True, number, previous)


def _problem(entry: Entry, number: int, previous: str) -> str | None:
    if entry.number != number:
        return f"a line is missing before number {entry.number}"
    if entry.previous != previous:
        return "it does not follow the line before it"
    said = {name: getattr(entry, name) for name in _FIELDS}
    return None if entry.hash == _hash(said, previous) else "it was changed"


def _hash(line: dict, previous: str) -> str:
    said = {name: line[name] for name in _FIELDS}
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{previous}\n{canonical}".encode()).hexdigest()
