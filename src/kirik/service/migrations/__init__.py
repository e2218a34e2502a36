"""The database's versions. Each start brings it up to the newest; none is lost on the way.

A new one: change `tables`, then add a file to `versions/` that does the same to a database that is
there. A test compares the two.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text

from kirik.errors import SettingsError
from kirik.service.engine import Database

_LOCK = 0x6B6972696B
"""Of PostgreSQL: of several processes that start at the same time one migrates, the rest wait."""


def upgrade(database: Database, to: str = "head") -> None:
    """Bring the database to a version, in one transaction.

    Raises Unavailable where it is away, SettingsError where a newer kirik made it.
    """
    # Looked at first without a lock: who starts where all is done keeps nobody waiting.
    if to == "head" and _current(database) == newest():
        return
    _migrate(database, command.upgrade, to)


def downgrade(database: Database, to: str) -> None:
    """Take the database back to a version; what that one has no place for is lost."""
    _migrate(database, command.downgrade, to)


def newest() -> str:
    """The version that this kirik works with."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _current(database: Database) -> str | None:
    with database.reading() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def _migrate(database: Database, how, to: str) -> None:
    config = _config()
    with database.writing() as session:
        connection = session.connection()
        if database.kind == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        try:
            how(config, to)
        except CommandError as error:
            message = "the database was made by a newer kirik; install that one"
            raise SettingsError(message) from error


def _config() -> Config:
    config = Config()
    place = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", place)
    config.set_main_option("path_separator", "os")
    return config
