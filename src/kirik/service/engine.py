"""The database: SQLite in a file by default, PostgreSQL for several hosts.

    with database.reading() as session: …     a consistent look
    with database.writing() as session: …     all of the block or nothing, on disk when it ends

What a block adds to the audit trail (`audit_trail.record`) and says of changed studies
(`changed`) is numbered at its end, so that these locks, which all writers share, are held for
a moment only and always taken in the same order.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path

from sqlalchemy import Engine, bindparam, create_engine, event, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from kirik.service.refusals import StorageFull, Unavailable
from kirik.service.tables import Change, Counter, now

_BUSY_SECONDS = 30
_CHANGED = "changed studies"

# Made once and run on the connection itself: to make a statement anew, or to have the session look
# after its rows, takes several times as long as the statement. Every upload and reading has these.
_RAISE = (
    update(Counter.__table__)
    .where(Counter.name == bindparam("counter"))
    .values(value=Counter.value + bindparam("raised"))
    .returning(Counter.value, Counter.text)
)
_TELL = insert(Change.__table__)


class Database:
    """An open database. Safe to share among threads; a forked process opens its own.

    kind: sqlite or postgresql.
    """

    def __init__(self, url: str, *, durability: str = "full", pool: int = 10):
        self.kind = "sqlite" if url.startswith("sqlite") else "postgresql"
        if self.kind == "sqlite":
            self.engine = _sqlite(url, durability)
        else:
            self.engine = create_engine(
                url,
                pool_pre_ping=True,  # a server that was started anew costs no request
                pool_size=pool,
                max_overflow=2 * pool,
                pool_timeout=10,
                connect_args={"connect_timeout": 5},
            )
        self._write = self.engine.execution_options(kirik_writes=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only looks. Raises Unavailable where the database is away."""
        with _our_errors(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are safe on disk when the block ends, or undone if it raises.

        On SQLite it is the only one that writes meanwhile: do nothing slow in it.
        Raises Unavailable where the database is away, StorageFull where the disk is full.
        """
        with _our_errors(), Session(self._write, expire_on_commit=False) as session:
            session.connection()  # takes SQLite's lock before anything is looked at
            yield session
            finish(session)
            session.commit()

    def close(self) -> None:
        """Close its connections."""
        self.engine.dispose()


def now_of(session: Session) -> datetime:
    """The present moment by the clock that all workers share: the database's."""
    if session.get_bind().dialect.name == "sqlite":
        return now()
    return session.scalar(select(func.clock_timestamp()))


def changed(session: Session, study_id: str) -> None:
    """Tell live pages, when the block ends, that this study changed or went."""
    session.info.setdefault(_CHANGED, {})[study_id] = None


def finish(session: Session) -> None:
    """Number what the block changed, then its lines in the audit trail."""
    from kirik.service import audit_trail  # which needs `counted`

    session.flush()
    ids = list(session.info.pop(_CHANGED, ()))
    if ids:
        last, _ = counted(session, "changes", len(ids))
        first, moment = last - len(ids) + 1, now()
        rows = [{"number": first + i, "study_id": one, "at": moment} for i, one in enumerate(ids)]
        session.connection().execute(_TELL, rows)
    audit_trail.write(session)


def counted(session: Session, name: str, by: int) -> tuple[int, str]:
    """Raise a counter and lock it until the transaction's end; its new value and its text."""
    raised = session.connection().execute(_RAISE, {"counter": name, "raised": by})
    value, text = raised.one()
    return value, text


def insert_once(session: Session, table: type, **values) -> bool:
    """Insert a row unless one with the same key is there; whether it was inserted.

    On PostgreSQL it waits for another transaction that is inserting the same one.
    """
    session.flush()  # what the row may refer to
    connection = session.connection()
    return connection.execute(_once(table, connection.dialect.name), values).first() is not None


def insert_all_once(session: Session, table: type, rows: Iterable[dict]) -> None:
    """Insert rows unless others with the same key are there; few statements for many."""
    session.flush()
    connection = session.connection()
    asked = _once(table, connection.dialect.name, told=False)
    alike: dict[tuple, list[dict]] = {}
    for row in rows:
        alike.setdefault(tuple(sorted(row)), []).append(row)
    for some in alike.values():
        connection.execute(asked, some)


@cache
def _once(table: type, kind: str, *, told: bool = True):
    """The statement that inserts where nothing is in the way; told: whether it says so."""
    dialect = postgresql if kind == "postgresql" else sqlite
    asked = dialect.insert(table.__table__).on_conflict_do_nothing()
    return asked.returning(*table.__table__.primary_key.columns) if told else asked


def lock_blobs(session: Session, blobs: Iterable[str]) -> None:
    """Until the transaction's end nobody else takes these files in or deletes them."""
    if session.get_bind().dialect.name == "postgresql":  # SQLite has but one writer
        for number in sorted(int(blob[:15], 16) for blob in blobs):
            session.execute(select(func.pg_advisory_xact_lock(number)))


def _sqlite(url: str, durability: str) -> Engine:
    path = url.removeprefix("sqlite:///").partition("?")[0]
    if path not in ("", ":memory:"):
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # SQLite would have others read it, where somebody else has made the folder.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    engine = create_engine(
        url, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}, pool_timeout=30
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _) -> None:
        # Python's driver would begin transactions by itself, and too late.
        connection.isolation_level = None
        _use_wal(connection)
        for pragma in (
            f"synchronous={'FULL' if durability == 'full' else 'NORMAL'}",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY_SECONDS * 1000}",
            "recursive_triggers=ON",  # so that INSERT OR REPLACE, too, meets the trail's triggers
            "trusted_schema=OFF",
            "cache_size=-16384",
            "secure_delete=ON",  # what retention deletes is gone from the file
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection) -> None:
        # Locked from the start: a transaction that reads first and writes later could be refused
        # halfway, without a wait, if another wrote in between.
        writes = connection.get_execution_options().get("kirik_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Have writers not wait for readers. The file remembers it; the one who tells it first may
    meet others who do so at the same time, and SQLite does not wait for these by itself."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                raise
            time.sleep(0.02)


_AWAY = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL),
)


@contextmanager
def _our_errors() -> Iterator[None]:
    """Turn what is the database's fault, not kirik's, into a refusal."""
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("the database is too busy; try again in a moment") from error
    except DBAPIError as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        # The driver's words may hold an address or a value: not passed on.
        raise refusal from error


def _refusal(error: DBAPIError) -> Exception | None:
    away = Unavailable("the database cannot be reached at the moment; try again")
    full = StorageFull("the disk of the database is full; free some space and try again")
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        primary = code & 0xFF
        return full if primary == sqlite3.SQLITE_FULL else away if primary in _AWAY else None
    if error.connection_invalidated:
        return away
    if not isinstance(error, OperationalError | InterfaceError):
        return None
    return full if getattr(error.orig, "sqlstate", None) == "53100" else away  # disk_full
