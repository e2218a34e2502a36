"""Folders that are there whole or not at all: drafted beside their place, then moved there."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def drafting(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, to be filled and then moved there by `swap`, else gone when
    the block ends.

    What was left beside it by one that was killed is removed first, but nothing that another
    process is writing: that has it locked. Raises OSError if the folder cannot be made.
    """
    _remove_abandoned(target)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        with _locked(draft, wait=True):
            yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def swap(draft: Path, target: Path) -> None:
    """Put the finished draft in the target's place; what stood there is kept until it stands."""
    old = draft.with_name(draft.name + ".old")
    if target.exists():
        target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    sync(target.parent)


def sync(path: Path) -> None:
    """Have the disk keep what was written, where the system can be told so."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_abandoned(target: Path) -> None:
    """Remove drafts of `target` that nobody writes any more, and what they were swapped for."""
    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}(\.old)?")
    with suppress(OSError):  # one that cannot be removed is in nobody's way
        for left in [path for path in target.parent.iterdir() if name.fullmatch(path.name)]:
            if left.suffix == ".old":
                # Looked for after the listing: until a swap is done, only the old one is whole.
                if target.exists():
                    shutil.rmtree(left, ignore_errors=True)
                continue
            with _locked(left) as alone:
                if alone and any(left.iterdir()):  # else it is a new one, about to be locked
                    shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process alone has the folder, until the block ends; never where the system has
    no such locks. wait: until nobody else has it."""
    alone = False
    with ExitStack() as held:
        with suppress(ImportError, OSError):
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            alone = True
        yield alone
