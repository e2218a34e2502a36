"""What is open while the reading room runs: settings, database, files, decoders."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from kirik.archives import Member
from kirik.errors import RadiographError, SettingsError
from kirik.radiograph import Limits
from kirik.reading.decoder import Decoders, DecodingLimits
from kirik.service.blobs import Blobs
from kirik.service.engine import Database
from kirik.service.migrations import upgrade
from kirik.service.refusals import Unavailable
from kirik.service.settings import ServiceSettings


@dataclass(frozen=True)
class Core:
    """Safe to share among threads; a forked process opens its own."""

    settings: ServiceSettings
    database: Database
    blobs: Blobs
    decoders: Decoders = field(repr=False)

    def ask(self, source: Path | Member, request: dict) -> Iterator[tuple[dict, list]]:
        """See `Decoders.ask`. Raises Unavailable where no file can be decoded at the moment."""
        with decoding():
            yield from self.decoders.ask(source, request)

    def pieces(self, source: Path | Member, request: dict) -> Iterator[bytes]:
        """What a request for bytes gives. Raises RadiographError where it is refused."""
        for header, arrays in self.ask(source, request):
            raise_refusal(header)
            yield from (array.tobytes() for array in arrays)

    def close(self) -> None:
        """End the decoders and close the database."""
        self.decoders.close()
        self.database.close()


def raise_refusal(header: dict) -> None:
    """Raise the RadiographError that a decoder's answer tells of, if it does."""
    if "error" in header:
        raise RadiographError(header["error"], reason=header["reason"])


@contextmanager
def decoding() -> Iterator[None]:
    """Raise Unavailable where it is this machine's fault that a file cannot be decoded."""
    try:
        yield
    except SettingsError as error:
        raise Unavailable(str(error)) from error


@contextmanager
def _refusing_other_files(database: Database) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise
        raise SettingsError(
            f"{database.engine.url.database}: no SQLite database, or a damaged one; put a backup "
            "of it in its place, or move it away to begin with an empty room"
        ) from error


def open_core(settings: ServiceSettings) -> Core:
    """Make what is not there yet, bring the database up to date, and open it all.

    Raises Unavailable where the database is away, SettingsError for an address that is none or a
    file that is no database, and OSError where the data folder cannot be used.
    """
    blobs = Blobs(settings.data)
    database = Database(settings.url, durability=settings.durability)
    with _refusing_other_files(database):
        upgrade(database)
    limits = DecodingLimits(sizes=Limits(file_bytes=settings.most_file_bytes))
    return Core(settings, database, blobs, Decoders(limits))
