"""`kirik worker`, `kirik users`, `kirik audit`: what the reading room needs beside its server."""

import getpass
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from kirik.cli.options import Count
from kirik.errors import SettingsError

Role = Literal["reader", "reviewer", "administrator"]
Switch = Annotated[bool, Parameter(negative="")]
Days = Annotated[int, Parameter(validator=Number(gte=1, lte=36_500))]
BY = "command line"
"""Who changed it, in the audit trail."""

users = App(name="users", help="The accounts of the reading room.")
audit = App(name="audit", help="The audit trail of the reading room.")


def worker(
    *,
    data: Path | None = None,
    model: Path | None = None,
    threads: Count | None = None,
    retention_days: Days | None = None,
) -> int:
    """Read what waits in the reading room, until stopped. As many may run as one likes, on several
    hosts where the database is PostgreSQL and all see the data folder.

    Parameters
    ----------
    data
        Folder of the files and the database; else $KIRIK_DATA, else ~/.local/share/kirik. The
        database of $KIRIK_DATABASE_URL, if that is set.
    model
        A shipped model's name, a bundle, or the run that made it. A model that an administrator
        put in counts more.
    threads
        Processor threads for the network; all of them if not given.
    retention_days
        Delete studies after so many days; never if not given. What an administrator set counts
        more. Give all workers the same.
    """
    from kirik.service.worker import run_worker

    settings = settings_of(data, model=model, threads=threads, retention_days=retention_days)
    _check_room(settings)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    print(f"reading what waits in {settings.data}, until stopped", file=sys.stderr)
    read = run_worker(settings, stop)
    print(f"{read} studies read")
    return 0


@users.command
def add(
    name: str,
    *,
    role: Role = "reader",
    patients: bool | None = None,
    own: Switch = False,
    data: Path | None = None,
) -> int:
    """Make an account. Its password is asked for, or read from standard input.

    Parameters
    ----------
    name
        To sign in with.
    role
        A reader hands in radiographs and sees readings, a reviewer judges them, too, and an
        administrator does all.
    patients
        Whether patients' names and ids are shown; from the reviewer on if not given.
    own
        Show only the studies that were handed in by this account.
    data
        See kirik worker.
    """
    from kirik.service import accounts

    with _core(data, new=True) as core:
        password = _asked_password()
        with core.database.writing() as session:
            account = accounts.add(session, name, password, role, patients=patients, own=own, by=BY)
        print(f"{account.name}: {account.role}")
    return 0


@users.command(name="list")
def list_(*, data: Path | None = None) -> int:
    """List the accounts.

    Parameters
    ----------
    data
        See kirik worker.
    """
    from rich.console import Console
    from rich.table import Table

    from kirik.service import accounts

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("name", "role", "patients", "studies", "enabled", "last seen"):
        table.add_column(title)
    with _core(data) as core, core.database.reading() as session:
        for one in accounts.listed(session):
            seen = one.last_seen_at.strftime("%Y-%m-%d %H:%M UTC") if one.last_seen_at else "–"
            shown = "own" if one.own else "all"
            flags = ["yes" if flag else "no" for flag in (one.patients, one.enabled)]
            table.add_row(one.name, one.role, flags[0], shown, flags[1], seen)
    Console(highlight=False).print(table)
    return 0


@users.command
def disable(name: str, *, data: Path | None = None) -> int:
    """Close an account: nobody signs in with it any more, and whoever is signed in is signed out.

    Parameters
    ----------
    name
        The account's.
    data
        See kirik worker.
    """
    from kirik.service import accounts

    with _core(data) as core, core.database.writing() as session:
        accounts.change(session, name, enabled=False, by=BY)
    return 0


@users.command
def password(name: str, *, data: Path | None = None) -> int:
    """Give an account another password, which is asked for, or read from standard input.

    Parameters
    ----------
    name
        The account's.
    data
        See kirik worker.
    """
    from kirik.service import accounts

    with _core(data) as core:
        with core.database.reading() as session:
            accounts.find(session, name)
        given = _asked_password()
        with core.database.writing() as session:
            accounts.set_password(session, name, given, by=BY)
    return 0


@audit.default
def _what_is_audited(*other: Annotated[str, Parameter(show=False)]) -> int:
    if other:
        raise SettingsError(
            "kirik audit is of the reading room's trail (kirik audit verify); a data set: "
            f"kirik data audit {other[0]}"
        )
    audit.help_print()
    return 0


@audit.command
def verify(*, head: str | None = None, data: Path | None = None) -> int:
    """Check that no line of the audit trail was changed, removed or put in between.

    Prints the last line's hash. Note it elsewhere: whoever rules the database could write the whole
    trail anew, but not so that it still has that hash. Exit code 1 names the first bad line.

    Parameters
    ----------
    head
        A hash that was noted before; the trail must still have it.
    data
        See kirik worker.
    """
    from kirik.service import audit_trail

    with _core(data) as core, core.database.reading() as session:
        found = audit_trail.verify(session, head)
    if found.ok:
        print(f"{found.entries} lines, unbroken; head {found.head}")
        return 0
    print(
        f"kirik: the audit trail is broken at line {found.broken}: {found.problem}", file=sys.stderr
    )
    return 1


@contextmanager
def _core(data: Path | None, *, new: bool = False) -> Iterator:
    """The room of a command. new: whether one is made where there is none."""
    from kirik.service.core import open_core

    settings = settings_of(data)
    if not new:
        _check_room(settings)
    core = open_core(settings)
    try:
        yield core
    finally:
        core.close()


def _check_room(settings) -> None:
    """Raises SettingsError where there is none: a folder may be mistyped."""
    if not settings.exists:
        raise SettingsError(
            f"{settings.data}: no reading room there; name its folder with --data, or open it "
            "first: kirik serve"
        )


def settings_of(data: Path | None, **asked):
    """The settings of a command: its flags, but for those that were not given."""
    from kirik.service.settings import ServiceSettings

    asked["data"] = data
    return ServiceSettings(**{name: value for name, value in asked.items() if value is not None})


def _asked_password() -> str:
    """Typed twice at a terminal; else a line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    given = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != given:
        raise SettingsError("the two passwords differ; try again")
    return given
