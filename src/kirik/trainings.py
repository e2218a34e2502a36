"""The trainings of a cross-validation: one after another, or several at once.

At once each has a process of its own. One that fails, or dies, costs no other: the rest train to
their end, and calling it again goes on with what is left.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path

from kirik.console import Console
from kirik.dataset.inspect import end_with_parent
from kirik.dataset.split import Split
from kirik.errors import KirikError, SettingsError, TrainingError
from kirik.reading.cores import usable_cores
from kirik.training.settings import TrainingSettings
from kirik.workflow import resume, train


@dataclass(frozen=True)
class Training:
    """One training: its run's folder, and the fold that it leaves out; None trains on all of
    dev."""

    data: Path
    settings: TrainingSettings
    run: Path
    split: Split
    fold: int | None
    language: str = "en"

    @property
    def done(self) -> bool:
        return (self.run / "bundle").is_dir()

    def to_the_end(self, console: Console) -> None:
        """Train, or go on with what was stopped. Raises KirikError's kinds."""
        if (self.run / "run.json").is_file():
            resume(self.run, self.data, self.language, console, report=False)
        else:
            train(
                self.data,
                self.settings,
                self.run,
                split=self.split,
                fold=self.fold,
                report=False,
                language=self.language,
                console=console,
            )


def refuse_several_processes(command: str) -> None:
    """Raise SettingsError if torchrun began several processes: each would do all of the command,
    in the others' way."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        raise SettingsError(
            f"kirik {command} is the work of one process, and torchrun began {world}; call it "
            "without torchrun, which is for kirik train alone"
        )


def train_all(trainings: Sequence[Training], at_once: int, console: Console) -> None:
    """Train those that are not done, so many at once.

    Raises KirikError's kinds: of several at once, after the others have ended.
    """
    left = [training for training in trainings if not training.done]
    if at_once == 1 or len(left) < 2:
        for training in left:
            console.say(f"{training.run}:")
            training.to_the_end(console)
        return
    _side_by_side(left, min(at_once, len(left)), console)


def _side_by_side(trainings: Sequence[Training], at_once: int, console: Console) -> None:
    threads = max(1, usable_cores() // at_once)
    running: set[multiprocessing.Process] = set()
    stopped = threading.Event()

    def attend(training: Training) -> KirikError | None:
        if stopped.is_set():
            return None
        ours, theirs = multiprocessing.Pipe(duplex=False)
        # Spawned, not forked: a fork inherits the locks of torch's and OpenMP's threads.
        process = multiprocessing.get_context("spawn").Process(
            target=_train_here,
            args=(training, threads, console.rich.quiet, theirs),
            name=training.run.name,
        )
        with _without_interrupts():
            process.start()
        running.add(process)
        if stopped.is_set():
            process.terminate()
        theirs.close()
        try:
            error = ours.recv()
        except EOFError:  # it ended without a word
            process.join()
            error = None if stopped.is_set() else _died(training.run, process.exitcode)
        process.join()
        running.discard(process)
        if error is not None:
            console.say(f"{training.run.name}: {error}")
        return error

    with ThreadPoolExecutor(at_once) as pool:
        try:
            errors = list(pool.map(attend, trainings))
        except BaseException:  # a Ctrl-C
            stopped.set()
            for process in list(running):
                process.terminate()
            raise
    failed = [error for error in errors if error is not None]
    if failed:
        raise failed[0]


def _died(run: Path, exit_code: int | None) -> TrainingError:
    how, why = f"with code {exit_code}", "what it said stands above"
    if exit_code and exit_code < 0:
        how, why = f"by signal {-exit_code}", "if memory is short, have fewer at once"
    return TrainingError(
        f"{run}: its process ended {how}; {why}. Call it again, and it goes on where it stopped"
    )


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is begun here lets a terminal's Ctrl-C to its parent, which ends it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _train_here(training: Training, threads: int, quiet: bool, told: connection.Connection) -> None:
    """In a process of its own: train, and tell the error, or None."""
    import torch

    end_with_parent()
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    try:
        training.to_the_end(Console(quiet, before=f"{training.run.name}: "))
    except KirikError as error:
        told.send(error)
    else:
        told.send(None)
