"""The worker beside `kirik serve`, which watches its folders, too: a process of its own, started
again where it ends unasked.

It ends with the server, however that one ends: it reads from a pipe whose other end closes then.
"""

import signal
import subprocess
import sys
import threading
from contextlib import closing

from kirik.service.settings import ServiceSettings

_START = "import sys; sys.path[:] = {path!r}; from kirik.service.companion import main; main()"
_FIRST_PAUSE, _LONGEST_PAUSE, _STEADY = 1.0, 30.0, 60.0
_NICENESS = 5
_PATIENCE = 20
"""Seconds for the studies in hand when the server stops."""


class Companion:
    """Keeps one worker alive while the block lasts."""

    def __init__(self, settings: ServiceSettings):
        self._said = settings.model_dump_json().encode() + b"\n"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="kirik-worker", daemon=True)
        self._process: subprocess.Popen | None = None

    @property
    def pid(self) -> int | None:
        """Of the worker that runs at the moment."""
        return self._process.pid if self._process else None

    def __enter__(self) -> "Companion":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stopping.set()
        if self._process is not None:
            _end(self._process)
        self._thread.join(_PATIENCE)

    def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            self._process = self._started()
            if self._stopping.is_set():  # meanwhile, and the one that was ended was another
                _end(self._process)
                return
            try:
                self._process.wait(_STEADY)
            except subprocess.TimeoutExpired:
                pause = _FIRST_PAUSE
                self._process.wait()
            if not self._stopping.wait(pause):
                print("kirik: the worker ended; it is started again", file=sys.stderr)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _started(self) -> subprocess.Popen:
        # The settings, which may hold a password, go in by the pipe, not by the command line.
        process = subprocess.Popen(
            [sys.executable, "-c", _START.format(path=sys.path)], stdin=subprocess.PIPE
        )
        try:
            process.stdin.write(self._said)
            process.stdin.flush()
        except OSError:
            pass  # it has ended already, which `_keep` sees
        return process


def _end(process: subprocess.Popen) -> None:
    try:
        process.stdin.close()
        process.wait(_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()


def main() -> None:
    """The worker's process: settings on standard input, which closes when it is to end."""
    for told_to_all in (signal.SIGINT, signal.SIGTERM):  # by Ctrl-C, by systemd
        signal.signal(told_to_all, signal.SIG_IGN)  # the server decides what it means
    settings = ServiceSettings.model_validate_json(sys.stdin.buffer.readline())
    stop = threading.Event()
    threading.Thread(target=_await_end, args=(stop,), daemon=True).start()
    from kirik.service.core import open_core
    from kirik.service.watch import Watcher
    from kirik.service.worker import Worker

    with closing(open_core(settings)) as core:
        watcher = Watcher(core, settings.watch)
        watching = threading.Thread(target=watcher.run, args=(stop,), daemon=True)
        if settings.watch:
            watching.start()
        Worker(core, niceness=_NICENESS).run(stop)
        if settings.watch:
            watching.join(_PATIENCE)


def _await_end(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()
