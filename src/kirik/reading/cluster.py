"""A model on many machines, by Ray Data: pieces of work go to processes that hold a `Classifier`.

The model's files travel from here to the processes, so that only kirik itself must be installed on
the machines. A process that dies is started again and its piece of work done again: what a piece
does must be such that doing it twice does no harm.
"""

import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import kirik
from kirik.bundle import SUMS, Bundle
from kirik.errors import KirikError, SettingsError, installed
from kirik.reading.classifier import Classifier, load_model
from kirik.reading.decoder import Decoders

Work = Callable[[Classifier, int, dict], dict]
"""Done in a process of the cluster: (classifier, decoding processes to use, a piece) → values for
JSON. A KirikError that it raises stops the run."""

_DEATHS = 100
"""Processes in a row that may die while they start, as they do with their machines."""


@dataclass(frozen=True)
class _Job:
    """What each process is given. files: Ray's reference to the bundle's files, by name.
    cores: of a process. workers: that decode for it. engine: see `Classifier`. version: of this
    kirik."""

    work: Work
    files: Any
    cores: int
    workers: int
    engine: str
    version: str


@contextmanager
def connected(cores: int = 1) -> Iterator[Any]:
    """Ray, connected to the cluster that $RAY_ADDRESS names, or that was started on this machine,
    or else one of this machine alone for the time of the block.

    Raises SettingsError if there is no Ray, no such cluster, or no machine in it of `cores` cores.
    """
    # Ray would tell its makers about each cluster, and the terminal about its own doings.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        ray = import_module("ray")
        import_module("ray.data")
    except ImportError as error:
        raise SettingsError(
            f"--cluster ray needs {error.name}, on every machine: {installed('cluster')}"
        ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if ray.is_initialized():  # the caller's own, who ends it, too
        _most_processes(ray, cores)
        yield ray
        return
    named = os.environ.get("RAY_ADDRESS", "")
    try:
        _knock(named)
        with _silence(), _own_end():
            ray.init(logging_level=logging.CRITICAL, log_to_driver=False, include_dashboard=False)
    except KirikError:
        raise
    except Exception as error:
        where = f"the Ray cluster at {named}" if named else "a Ray cluster"
        raise SettingsError(
            f"{where} cannot be reached ({_first_line(error)}); see docs/scale.md"
        ) from error
    try:
        _most_processes(ray, cores)
        yield ray
    finally:
        ray.shutdown()


def over_cluster(
    ray,
    bundle: Bundle,
    work: Work,
    pieces: Sequence[dict],
    *,
    cores: int = 1,
    workers: int | None = None,
    engine: str = "onnxruntime",
) -> Iterator[dict]:
    """Do pieces of work on all machines of a cluster; give what they return, as they are done.

    ray: from `connected`. cores: that a process takes of its machine, each for one thread of the
    network. workers: that decode in each; two a core if not given, as they wait for files, too.
    engine: see `Classifier`.
    Raises SettingsError if the cluster breaks down, or for what the work refuses.
    """
    if not pieces:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_consecutive_actor_init_deaths = _DEATHS
    files = ray.put({name: path.read_bytes() for name, path in _files(bundle)})
    job = _Job(work, files, cores, workers or 2 * cores, engine, kirik.__version__)
    most = min(_most_processes(ray, cores), len(pieces))
    # A block a piece, so that with a process one piece of work dies alone. Ray Data starts it
    # again, and gives it its work again, without end.
    with _plainly():
        items = ray.data.from_items(
            [{"piece": json.dumps(piece)} for piece in pieces], override_num_blocks=len(pieces)
        )
        done = items.map_batches(
            _Worker,
            fn_constructor_args=(job,),
            batch_size=1,
            num_cpus=cores,
            compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=most),  # more may join
        )
        for row in done.iter_rows():
            if row["refusal"]:
                raise SettingsError(row["refusal"])
            yield json.loads(row["result"])


class _Worker:
    """One process of the cluster."""

    def __init__(self, job: _Job):
        self._job, self._refusal = job, None
        if job.version != kirik.__version__:
            self._refusal = (
                f"{socket.gethostname()}: has kirik {kirik.__version__}, and this machine "
                f"{job.version}; install the same on all"
            )
            return
        import ray

        try:
            # Gone again at once: a process that is killed later leaves nothing behind.
            with tempfile.TemporaryDirectory(prefix="kirik-model-") as folder:
                _unpack(ray.get(job.files), Path(folder))
                self._classifier = load_model(
                    folder, threads=job.cores, engine=job.engine, decoders=Decoders()
                )
        except (KirikError, OSError) as error:
            self._refusal = f"{socket.gethostname()}: {error}"

    def __call__(self, batch: dict) -> dict:
        [piece] = batch["piece"]
        refusal, result = self._refusal, {}
        if not refusal:
            try:
                result = self._job.work(self._classifier, self._job.workers, json.loads(piece))
            except KirikError as error:
                refusal = f"{socket.gethostname()}: {error}"
            except Exception as error:  # what it says may hold a patient's data
                place = traceback.extract_tb(error.__traceback__)[-1]
                refusal = (
                    f"{socket.gethostname()}: broke down ({type(error).__name__} in "
                    f"{Path(place.filename).name}, line {place.lineno}); go on with --resume"
                )
        return {"refusal": [refusal or ""], "result": [json.dumps(result)]}


def _files(bundle: Bundle) -> Iterator[tuple[str, Path]]:
    """The bundle's own files, its members' included."""
    for path in sorted(bundle.path.rglob("*")):
        name = path.relative_to(bundle.path).as_posix()
        if path.is_file() and (name in bundle.checksums or path.name == SUMS):
            yield name, path


def _unpack(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _knock(address: str) -> None:
    """Raises OSError if nobody answers at a cluster's HOST:PORT, for which Ray waits minutes."""
    if address.startswith("ray://"):
        raise SettingsError(
            f"{address}: Ray Data runs on a machine of the cluster; run kirik there, with "
            "RAY_ADDRESS=HOST:6379 or none, or hand it in with ray job submit"
        )
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _own_end() -> Iterator[None]:
    """Have SIGTERM end this process in order, what Ray has started included: Ray would abort it,
    with a dump of the stack."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end if before is signal.SIG_DFL else before)


def _end(number: int, _) -> None:
    sys.exit(128 + number)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Ray's own libraries write past Python off standard error."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _most_processes(ray, cores: int) -> int:
    """How many processes of so many cores the cluster's machines can hold now."""
    has = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    most = sum(count // cores for count in has)
    if not most:
        raise SettingsError(
            f"no machine of the cluster has {cores} cores (the largest has "
            f"{max(has, default=0)}); ask for fewer with --threads"
        )
    return most


@contextmanager
def _plainly() -> Iterator[None]:
    """Tell Ray's errors in one line."""
    try:
        yield
    except (KirikError, GeneratorExit, KeyboardInterrupt):
        raise
    except Exception as error:
        raise SettingsError(
            f"the cluster broke down ({_first_line(error)}); what was finished is kept: "
            "go on with --resume"
        ) from error


def _first_line(error: BaseException) -> str:
    """The innermost cause, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or ['no reason given'])[-1]}"[:300]
