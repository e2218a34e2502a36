"""A PostgreSQL server for tests: started, stopped and killed by them, in a folder of its own."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from itertools import count
from pathlib import Path

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
_numbers = count()


def why_not() -> str | None:
    """Why no server can be started here; None where one can."""
    if _found("initdb") is None or _found("pg_ctl") is None:
        return "PostgreSQL is not installed (initdb, pg_ctl)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    if os.getuid() == 0 and _unprivileged() is None:
        return "PostgreSQL does not run as root, and there is no other user to run it as"
    return None


def _found(name: str) -> str | None:
    for folder in _BINARIES:
        if (folder / name).exists():
            return str(folder / name)
    return shutil.which(name)


def _unprivileged() -> str | None:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return None


class Cluster:
    """A server that listens in a folder alone and trusts whoever may open it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kirik-pg-"))
        self._user = _unprivileged() if os.getuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data = self.folder / "data"
        self._run("initdb", "-D", str(self.data), "-U", "kirik", "-A", "trust", "-E", "UTF8",
                  "--no-sync", "--locale=C.UTF-8")  # fmt: skip

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", log, "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        """immediate: as if its power had failed."""
        self._run("pg_ctl", "-D", str(self.data), "-m", how, "-w", "stop", check=False)

    def new_database(self) -> str:
        """An address under which nothing is there yet: a schema of its own, which is made sooner
        than a database."""
        import psycopg

        name = f"kirik{next(_numbers)}"
        plain = f"postgresql://kirik@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{plain}?options=-csearch_path%3D{name}"

    def _run(self, name: str, *arguments: str, check: bool = True) -> None:
        done = subprocess.run(
            [_found(name), *arguments],
            user=self._user,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{name}: {done.stderr.decode()[-500:]}")
