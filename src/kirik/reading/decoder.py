"""Decoding in other processes: no file can take this one's memory, time or life.

`Decoders` keeps children (`kirik.reading.child`) and lends each to one thread at a time. A child
that dies of a file, or is at it for too long, is killed and another takes its place: that file
alone is lost, and its error says so. Nothing that a child answers is trusted to be more than bytes
of the announced shapes.
"""

import json
import math
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from kirik.archives import Member
from kirik.errors import NO_THREADS, RadiographError, SettingsError
from kirik.files import shown
from kirik.limits import Limits
from kirik.stores import Remote

_START = "import sys; sys.path[:] = {path!r}; from kirik.reading.child import main; main({memory})"
_MOST_HEADER, _MOST_BYTES = 4 * 2**20, 2**28
_CHILDS_OWN = {
    # One thread each: there are as many children as cores already.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # A radiograph's memory is kept for the next one, but a large one's goes back to the system:
    # with glibc's own thresholds a third of the time goes into getting it again.
    "MALLOC_MMAP_THRESHOLD_": str(64 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
_LIFE = 5000
"""Requests after which a child is replaced: a codec may leak a little with each."""
_LOOK = 0.1
"""Seconds from one look at who is at it for too long to the next."""
_STOPPED = 1.0
"""Seconds by which a look is late at least where the process did not run."""
_PATIENCE = 10
"""Times the seconds of computing that an answer may take where its child waits for the rest."""
_WARM = 50
"""Requests after which a child has loaded all that it needs."""
_STARTS = 3
"""Children in a row that may die before they are ready, as something else may have killed one."""


@dataclass(frozen=True)
class DecodingLimits:
    """What decoding a file may take.

    seconds: for each of its frames, of computing: one whose storage is slow (a tape, a sleeping
    disk) may take ten times as long, where the system tells (Linux). memory: bytes of a child's
    address space, or as many as the system's own limit leaves it. sizes: see `Limits`.
    """

    seconds: float = 60.0
    memory: int = 4 * 2**30
    sizes: Limits = field(default_factory=Limits)


class Decoders:
    """Children that decode, as many as are asked at the same time; made when first needed.

    Safe to share among threads. Close it, or let it go, and its children end.
    """

    def __init__(self, limits: DecodingLimits | None = None):
        self.limits = limits or DecodingLimits()
        self._sizes = asdict(self.limits.sizes)
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._watch = _Watch()
        self._finalizer = weakref.finalize(self, _end_all, self._idle, self._watch)

    def start(self) -> None:
        """Begin a child if none is idle, so that it is ready when the first file comes."""
        with self._lock:
            if self._idle:
                return
        with suppress(OSError):  # which the first file then meets again, and tells
            child = _Child(self.limits, self._watch)
            with self._lock:
                self._idle.append(child)

    def growth(self) -> int:
        """Bytes of memory that the idle children hold more than after their first requests; 0 where
        the system does not tell."""
        with self._lock:
            return max((child.growth() for child in self._idle), default=0)

    def close_archives(self) -> None:
        """Have the idle children let go of the archives that they keep open for the next member."""
        with self._lock:
            idle = list(self._idle)
        for child in idle:
            with self._lock:
                if child not in self._idle:
                    continue
                self._idle.remove(child)
            with suppress(_Died, _TooSlow):
                for _ in child.ask({"do": "close"}):
                    pass
            self._put_back(child)

    def begin_anew(self) -> None:
        """Leave the children to the process that this one was forked from.

        It keeps its locks, too, which may be held for ever here, and no thread came along.
        """
        self._finalizer.detach()
        left = self._idle
        self._begin()
        for child in left:
            child.let_go()

    def close(self) -> None:
        """End the idle children."""
        with self._lock:
            idle, self._idle[:] = self._idle[:], []
        _end_all(idle)

    def ask(self, source, request: dict) -> Iterator[tuple[dict, list]]:
        """A child's messages to a request about a file: headers, with arrays.

        source: a path, a `Member`, or a `Remote`, which is fetched here, as a child has no
        business on a network. A relative path is meant from the folder that this process works in
        now. Raises RadiographError if the file cannot be fetched, or is the child's end, with the
        reason crashed or too_slow. A child that dies without a word may have been killed for
        others' reasons, so that a second one is asked, too. Raises SettingsError where none gets
        ready to be asked: that is this machine's fault, not the file's.
        """
        member = isinstance(source, Member)
        request = request | {
            "path": source.archive if member else str(source),
            "member": source.name if member else None,
            "folder": _working_folder(),
            "limits": self._sizes,
        }
        fetched = None
        if isinstance(source, Remote):
            fetched = source.fetch(self.limits.sizes.file_bytes)
            request["bytes"] = len(fetched)
        for last in (False, True):
            said = False
            try:
                with self._child(fresh=last) as child:
                    for message in child.ask(request, fetched):
                        said = True
                        yield message
                return
            except _TooSlow as slow:
                raise RadiographError(f"{shown(source)}: {slow}", reason="too_slow") from None
            except _Died:
                if said or last:
                    what = f"{shown(source)}: the decoder broke down on it; export it again"
                    raise RadiographError(what, reason="crashed") from None

    def _idle_child(self) -> "_Child | None":
        """One that still lives, of those that have nothing to do."""
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.usable:
                    return child
                child.end()
        return None

    @contextmanager
    def _child(self, fresh: bool) -> Iterator["_Child"]:
        # Who killed one child may have killed the idle ones, too, and not all show it yet.
        child = self._ready_child(None if fresh else self._idle_child())
        try:
            yield child
        finally:
            self._put_back(child)

    def _ready_child(self, child: "_Child | None") -> "_Child":
        """This one, or another in its place. Raises SettingsError where none gets ready."""
        why = ""
        for _ in range(_STARTS):
            try:
                child = child or _Child(self.limits, self._watch)
                child.await_start()
                return child
            except OSError as error:
                why = error.strerror or type(error).__name__
            except (_Died, _TooSlow):
                why = "they end, or hang, before they are ready"
                child.end()
                child = None
        raise SettingsError(
            f"no file can be decoded on this machine: the processes for it do not start ({why}); "
            "raise the limits on memory and processes (see ulimit -a)"
        )

    def _put_back(self, child: "_Child") -> None:
        # One that was left in the middle of an answer, or died, cannot be asked again.
        if child.usable:
            with self._lock:
                self._idle.append(child)
        else:
            child.end()


_ALL: weakref.WeakSet[Decoders] = weakref.WeakSet()


def _all_begin_anew() -> None:
    for decoders in _ALL:
        decoders.begin_anew()


# A forked process must not talk to its parent's children.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_all_begin_anew)


@cache
def shared_decoders() -> Decoders:
    """The decoders of this process's classifiers that were given none of their own."""
    return Decoders()


def _working_folder() -> str | None:
    """None where it is gone."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return None


class _Died(Exception):
    """The child ended before its answer did, or answered nonsense."""


class _TooSlow(Exception):
    """The child was killed because its time was up; says what took it."""


@dataclass
class _Turn:
    """A child's answer that is awaited: the limit, when it began and when to look at it (by the
    monotonic clock), and what its child had computed before. All in seconds."""

    seconds: float
    began: float
    look: float
    computed: float | None
    over: str = ""
    """Why its child was killed."""


class _Watch:
    """Kills the children that are at an answer for too long. One thread for all: a timer for each
    answer would take longer than many a file."""

    def __init__(self):
        self._changed = threading.Condition()
        self._turns: dict[_Child, _Turn] = {}
        self._thread: threading.Thread | None = None
        self._stopped = False

    def begin(self, child: "_Child", seconds: float) -> _Turn:
        now = time.monotonic()
        turn = _Turn(seconds, now, now + seconds, _computed(child.pid))
        with self._changed:
            self._turns[child] = turn
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="kirik-watch", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the system gives no more of them
                    del self._turns[child]
                    raise SettingsError(NO_THREADS) from error
                self._thread = thread
            if len(self._turns) == 1:
                self._changed.notify()
        return turn

    def end(self, child: "_Child") -> None:
        with self._changed:
            self._turns.pop(child, None)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                last, timed = time.monotonic(), bool(self._turns)
                self._changed.wait(_LOOK if timed else None)
                now = time.monotonic()
                missed = now - last - _LOOK
                # This process was stopped (Ctrl-Z, a frozen container), and so were its children.
                if timed and missed > _STOPPED:
                    for turn in self._turns.values():
                        turn.began += missed
                        turn.look += missed
                for child in [child for child, turn in self._turns.items() if turn.look < now]:
                    self._look_at(child, now)

    def _look_at(self, child: "_Child", now: float) -> None:
        """Let a child go on that waits for its file more than it computes, or kill it."""
        turn = self._turns[child]
        before, after = turn.computed, _computed(child.pid)
        used = turn.seconds if before is None or after is None else after - before
        if used >= turn.seconds / 2:
            turn.over = f"took longer to decode than {turn.seconds:g} s; export it again"
        elif now >= turn.began + _PATIENCE * turn.seconds:
            longest = f"{_PATIENCE * turn.seconds:g} s"
            turn.over = f"did not come from its storage in {longest}; read it when it is there"
        else:
            turn.look = now + turn.seconds - used
            return
        del self._turns[child]
        child.kill()


class _Child:
    """One decoding process."""

    def __init__(self, limits: DecodingLimits, watch: _Watch):
        self._watch = watch
        self._seconds, self._asked, self._between = limits.seconds, 0, True
        code = _START.format(path=sys.path, memory=limits.memory)
        environment = os.environ | _CHILDS_OWN
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        _widen(self._process.stdout)
        self._ready, self._held = False, 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def usable(self) -> bool:
        return self._between and self._asked < _LIFE and self._process.poll() is None

    def ask(self, request: dict, content: bytes | None = None) -> Iterator[tuple[dict, list]]:
        self.await_start()
        self._asked += 1
        self._between = False
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.write(content or b"")
            self._process.stdin.flush()
        except OSError as error:
            raise _Died from error
        while True:
            header, arrays = self._message(self._seconds)
            if header.get("end"):
                self._between = True
                if self._asked == _WARM:
                    self._held = _resident(self._process.pid)
                return
            yield header, arrays

    def growth(self) -> int:
        return max(0, _resident(self._process.pid) - self._held) if self._held else 0

    def await_start(self) -> None:
        """Wait until it can be asked. Raises _Died or _TooSlow."""
        if self._ready:
            return
        header, _ = self._message(60)
        self._ready = bool(header.get("ready"))

    def _message(self, seconds: float) -> tuple[dict, list]:
        turn = self._watch.begin(self, seconds)
        try:
            return self._received()
        except _Died:
            if turn.over:
                raise _TooSlow(turn.over) from None
            raise
        finally:
            self._watch.end(self)

    def _received(self) -> tuple[dict, list]:
        import numpy as np

        stream = self._process.stdout
        try:
            header = json.loads(stream.readline(_MOST_HEADER))
            arrays = []
            for shape, kind in header["arrays"]:
                dtype = np.dtype({"|u1": np.uint8, "<f4": np.float32}[kind])
                if math.prod(shape) * dtype.itemsize > _MOST_BYTES:
                    raise _Died
                array = np.empty(shape, dtype)
                if stream.readinto(memoryview(array).cast("B")) < array.nbytes:
                    raise _Died
                arrays.append(array)
        except Exception as error:  # which depends on what came instead
            raise _Died from error
        return header, arrays

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self._process.kill()
        self.let_go()
        self._process.wait()

    def let_go(self) -> None:
        """Close this process's ends of the pipes."""
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                stream.close()


def _widen(pipe) -> None:
    """Room for a whole answer in a pipe, where the system lets one have it: a child that need not
    wait for its reader spares both some turns."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 2**20)


def _resident(pid: int) -> int:
    """Bytes that a process holds in memory; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _computed(pid: int) -> float | None:
    """Seconds for which a process has computed; None where the system does not tell."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
        user, system = told.rpartition(b")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def _end_all(children: list[_Child], watch: _Watch | None = None) -> None:
    if watch:
        watch.stop()
    for child in children:
        child.end()
