"""The settings of the reading room: flags of `kirik serve` and `kirik worker`, and environment."""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from kirik.errors import SettingsError

MIB = 2**20


def _data() -> Path:
    named = os.environ.get("KIRIK_DATA")
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(named) if named else Path(home) / "kirik"


class ServiceSettings(BaseModel):
    """How the reading room runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: Path = Field(default_factory=_data, validate_default=True)
    """Folder of the files and, by default, of the database; else $KIRIK_DATA."""

    database_url: str | None = Field(
        default_factory=lambda: os.environ.get("KIRIK_DATABASE_URL") or None, repr=False
    )
    """Of a PostgreSQL database (postgresql://…); else $KIRIK_DATABASE_URL, else SQLite in `data`.
    """

    host: str = "127.0.0.1"
    """Address to listen on; on any other than this machine's own an account must exist."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on."""

    watch: tuple[Path, ...] = ()
    """Folders whose new radiographs are taken in."""

    deidentify: bool = False
    """Drop the patient's name, id and all that could tell them before anything is stored."""

    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    """Delete studies after so many days; never where None. Workers do it. An administrator's choice
    counts more."""

    model: Path | None = None
    """A shipped model's name, a bundle, or the run that made it; an administrator's choice counts
    more."""

    most_file_bytes: int = Field(default=256 * MIB, ge=1)
    """Size of an uploaded file, and of a zip's member."""

    most_zip_bytes: int = Field(default=2048 * MIB, ge=1)
    """Size of an uploaded zip, and of all its members together."""

    most_files: int = Field(default=1_000, ge=1)
    """Files of one upload, and members of one zip."""

    most_request_bytes: int = Field(default=2048 * MIB, ge=1)
    """Size of one upload of any number of files."""

    least_free_bytes: int = Field(default=256 * MIB, ge=0)
    """Nothing more is taken in where the disk has less left: the database needs it to go on."""

    lease_seconds: float = Field(default=30, gt=0, le=3600)
    """After so long without a sign of life from its worker, a study is read by another."""

    session_hours: float = Field(default=12, gt=0, le=24 * 31)
    """After so long a person signs in again."""

    idle_minutes: float = Field(default=120, gt=0)
    """A session that was not used for so long is over."""

    threads: int | None = Field(default=None, ge=1)
    """Processor threads for the network; all of them if not given."""

    durability: Literal["full", "normal"] = "full"
    """Of SQLite: `full` keeps every commit even where the power fails."""

    @field_validator("data")
    @classmethod
    def _absolute(cls, data: Path) -> Path:
        return data.expanduser().absolute()

    @property
    def exists(self) -> bool:
        """Whether there is a room, as far as that can be told without asking a server for it."""
        url = make_url(self.url)
        return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()

    @property
    def url(self) -> str:
        """The database's address for SQLAlchemy. Raises SettingsError for one not supported."""
        given = self.database_url
        if not given:
            return f"sqlite:///{self.data / 'kirik.sqlite3'}"
        scheme, found, rest = given.partition("://")
        if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
            given = f"postgresql+psycopg://{rest}"
        elif not found or scheme != "sqlite":
            # The address may hold a password: no more than its beginning is said.
            shown = f"database {scheme}://…" if found else "database"
            raise SettingsError(f"{shown}: give sqlite:///FILE or postgresql://…")
        try:
            make_url(given)
        except (ArgumentError, ValueError):
            what = "in its password, write @ as %40, : as %3A and % as %25"
            raise SettingsError(f"database: an address that cannot be read; {what}") from None
        return given
