"""What kirik shows while it works: bars with rate and time left, and lines where none fit, as in a
file that standard error goes to."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from kirik.training.settings import TrainingSettings


_EACH = 60
"""Seconds from one line to the next where there is no bar."""


class _Rate(ProgressColumn):
    """Radiographs per second."""

    def render(self, task) -> Text:
        return Text(_rate_words(task), style="cyan")


class _TimeLeft(ProgressColumn):
    """What is still to be done, at the rate so far."""

    def render(self, task) -> Text:
        return Text(_time_left_words(task), style="progress.remaining")


def _rate_words(task) -> str:
    rate = _rate(task) * task.fields["each"]
    words = f"{rate:.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
    return words if rate else "–/s"


def _time_left_words(task) -> str:
    """Empty where nobody knows how much there is."""
    if task.total is None:
        return ""
    rate = _rate(task)
    if not rate and task.remaining > 0:
        return "-:--:--"
    return str(timedelta(seconds=math.ceil(max(0, task.remaining) / (rate or 1))))


def _rate(task) -> float:
    """Steps per second; of readings since the bar began, without those that an earlier run had
    done. From one moment to the next, as rich has it, says nothing of them: they come a batch at
    once."""
    before = task.fields["before"]
    if before is None:
        return task.finished_speed or task.speed or 0
    return max(0, task.completed - before) / task.elapsed if task.elapsed else 0


class Console:
    """Progress and problems go to standard error, so that standard output stays a result's.

    before: what each line begins with, for one of several that write at once; such have no bars.
    """

    def __init__(self, quiet: bool = False, before: str = ""):
        self.rich = RichConsole(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self.before = before

    def say(self, text: str) -> None:
        """One line."""
        self.rich.print(self.before + text, markup=False)

    def unreadable(self, reasons: Mapping[str, str]) -> None:
        """Radiographs that could not be read, one line each."""
        if reasons:
            self.say(f"{len(reasons)} radiographs could not be read and were left out:")
        for reason in reasons.values():
            self.say(f"  {reason}")

    @contextmanager
    def _bar(
        self, label: str, total: int | None, each: int = 1, before: int | None = None
    ) -> Iterator[tuple]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            _TimeLeft(),
            TextColumn("{task.fields[note]}"),
        )
        # rich would end a bar that it never drew with an empty line.
        none = bool(self.before) or not self.rich.is_terminal
        progress = Progress(*columns, console=self.rich, transient=True, disable=none)
        try:
            progress.start()
        except RuntimeError:  # the system gives no thread for it
            self.rich.show_cursor()
            raise
        with progress:
            fields = {"each": each, "before": before, "note": ""}
            yield progress, progress.add_task(label, total=total, **fields)

    @contextmanager
    def decoding(self, label: str, total: int | None = None) -> Iterator:
        """A bar for `progress(done, total)` callbacks, or `progress(done, total, failed)`."""
        with self._bar(label, total) as (progress, task):
            yield _shown(self, progress, task)

    @contextmanager
    def reading(self, total: int | None) -> Iterator:
        """A bar over `total` radiographs being read, see `decoding`. Its callback takes `before`,
        too: how many of those done an earlier run had read."""
        with self._bar("reading", total, before=0) as (progress, task):
            yield _shown(self, progress, task)

    @contextmanager
    def training(self, settings: "TrainingSettings") -> Iterator["TrainingProgress"]:
        """A bar over the steps of an epoch, and a line after each epoch."""
        with self._bar("training", None, each=settings.batch_size) as (progress, task):
            yield TrainingProgress(self, progress, task, settings)


def _shown(console: Console, progress: Progress, task) -> Callable[..., None]:
    said = console.rich.get_time()

    def show(done: int, total: int | None, failed: int = 0, **fields: int) -> None:
        nonlocal said
        note = f"{failed:,} failed" if failed else ""
        progress.update(task, completed=done, total=total, note=note, **fields)
        now = console.rich.get_time()
        if progress.disable and not console.before and now - said >= _EACH:
            said = now
            console.say(_line(progress.tasks[task]))

    return show


def _line(task) -> str:
    """A bar's columns in words."""
    done = f"{task.completed:,}" + ("" if task.total is None else f" of {task.total:,}")
    left = _time_left_words(task)
    words = (done, _rate_words(task), left and f"{left} left", task.fields["note"])
    return f"{task.description}: {', '.join(filter(None, words))}"


class TrainingProgress:
    """Shows a training run: `step` after each step, `epoch` after each epoch."""

    def __init__(self, console: Console, progress: Progress, task, settings: "TrainingSettings"):
        self.console, self.progress, self.bar, self.settings = console, progress, task, settings
        self.started = time.monotonic()

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """After a step: the bar is the whole run's, so that the time left is, too."""
        done, epochs = (epoch - 1) * steps + step, self.settings.epochs
        self.progress.update(
            self.bar,
            total=steps * epochs,
            completed=done,
            description=f"epoch {epoch}/{epochs}",
            note=f"loss {loss:.3f}",
        )

    def epoch(self, state) -> None:
        """After an epoch: a line that stays."""
        row, line = state.history[-1], f"epoch {state.epoch:>3}"
        for title, name in (("loss", "loss"), ("accuracy", "accuracy")):
            after = row.get(f"validation_{name}")
            line += f"  {title} {row[f'train_{name}']:.3f}"
            line += "" if after is None else f" → {after:.3f}"
        if "validation_auroc" in row:
            line += f"  AUROC {row['validation_auroc']:.3f}"
            line += " (kept)" if state.best_epoch == state.epoch else ""
        self.console.say(f"{line}  {(time.monotonic() - self.started) / 60:.1f} min")
