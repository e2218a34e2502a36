"""Files in object stores and on other machines, by fsspec: s3://…, gs://…, https://…, sftp://…

A plain path and file:// are this machine's files. What a store refuses is told in the user's words;
credentials come from the store's own settings (such as AWS_PROFILE), never from a URL.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

from kirik.errors import RadiographError, SettingsError, installed
from kirik.files import (
    HEAD_BYTES,
    OVERLAY_SUFFIX,
    READABLE,
    is_hollow,
    is_own_picture,
    kind_of,
    promises_image,
    shown,
)

_URL = re.compile(r"[A-Za-z][\w+.-]+(::[A-Za-z][\w+.-]+)*://", re.ASCII)
_SIGNED = re.compile(
    r"(^|[&_-])(sig|signature|token|api_?key|key|password|secret)=", re.ASCII | re.IGNORECASE
)
_QUERY = re.compile(r"\?\S*")
_TRIES = 3
_PAUSE = 0.5
"""Seconds before the second try; twice as many before the third."""
_HOLES = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""What trying again does not mend."""

_Value = TypeVar("_Value")


def is_url(place: str) -> bool:
    """Whether a place names its store, as s3://… does, rather than being a path."""
    return bool(_URL.match(place))


def local_path(place: str) -> str | None:
    """The absolute path of a place on this machine (a path, or file://…); None for any other."""
    scheme, parted, rest = place.partition("://")
    if parted and scheme.lower() in ("file", "local"):
        return os.path.abspath(rest)  # noqa: PTH100 (links stay as they are)
    return None if is_url(place) else os.path.abspath(place)  # noqa: PTH100


@dataclass(frozen=True)
class Remote:
    """A file in a store; written as its URL.

    sure: whether its name promises an image, and none that kirik drew; else its first bytes decide.
    """

    url: str
    sure: bool = True

    def __str__(self) -> str:
        return self.url

    def fetch(self, most: int) -> bytes:
        """All its bytes. Raises RadiographError where it cannot be had, is empty, or has more than
        `most` bytes."""
        name = shown(self.url)
        try:
            content = patiently(lambda: _content(self.url, most + 1))
        except Exception as error:  # each store has errors of its own
            reason, why = explained(error)
            raise RadiographError(f"{name}: {why}", reason=reason) from None
        if not content:
            raise RadiographError(f"{name}: empty (0 bytes); copy it again", reason="empty")
        if len(content) > most:
            message = f"{name}: more than the limit of {most / 2**20:,.0f} MiB; export it smaller"
            raise RadiographError(message, reason="too_large")
        return content

    def worth_reading(self) -> bool:
        """Whether it is an image, by its name or else by its first bytes; yes if it cannot be
        looked at, so that reading it says why."""
        if self.sure:
            return True
        try:
            head = patiently(lambda: _content(self.url, HEAD_BYTES))
            readable = kind_of(head) in READABLE and not is_own_picture(head)
            return readable or is_hollow(PurePosixPath(self.url).name, head)
        except Exception:
            return True


def _content(url: str, most: int) -> bytes:
    """The first `most` bytes at most."""
    system, path = opened(url)
    try:
        return system.cat_file(path, start=0, end=most)[:most]
    except _HOLES:
        raise
    except Exception:
        # No range lies within an empty file, which stores call an error.
        with suppress(Exception):
            if system.info(path).get("size") == 0:
                return b""
        raise


def patiently(job: Callable[[], _Value]) -> _Value:
    """Try again what a busy store or network refused."""
    for tried in range(_TRIES - 1):
        try:
            return job()
        except _HOLES:
            raise
        except Exception:
            time.sleep(_PAUSE * 2**tried)
    return job()


def walk(
    url: str, on_error: Callable[[str, RadiographError], None], seen: set[str] | None = None
) -> Iterator[Remote]:
    """The plausible radiographs under a URL, to any depth, sorted; the file itself if it is one.

    Hidden names and DICOMDIRs are passed over. A folder that cannot be listed, or has no name, goes
    to `on_error`.
    seen: folders that were walked before, which are passed over, too; added to.
    Raises SettingsError where there is nothing at the URL, the store cannot be asked, or the URL is
    signed.
    """
    _refuse_signed(url)
    system, top = opened(url)
    base, seen = url.rstrip("/"), set() if seen is None else seen
    try:
        facts = patiently(lambda: system.info(top))
        # A web server's folder is a page of links, which no radiograph is.
        is_folder = facts["type"] == "directory" or facts.get("mimetype") == "text/html"
        listing = _listing(system, top) if is_folder else None
    except Exception as error:
        raise SettingsError(f"{shown(url)}: {explained(error)[1]}") from None
    if listing is None:
        yield Remote(url)
        return
    if base in seen:
        return
    seen.add(base)
    waiting = [listing]
    while waiting:
        if not waiting[-1]:
            waiting.pop()
            continue
        path, is_folder = waiting[-1].pop()
        inside = base + path[len(top.rstrip("/")) :]
        if not is_folder:
            name = PurePosixPath(path).name
            yield Remote(inside, promises_image(name) and not name.endswith(OVERLAY_SUFFIX))
            continue
        if inside in seen:
            continue
        seen.add(inside)
        if path.endswith("/"):
            on_error(f"{inside}/", _nameless(inside))
            continue
        try:
            waiting.append(_listing(system, path))
        except Exception as error:
            reason, why = explained(error)
            on_error(inside, RadiographError(f"{shown(inside)}: {why}", reason=reason))


def _refuse_signed(url: str) -> None:
    place, _, asked = url.partition("?")
    if _SIGNED.search(asked):
        raise SettingsError(
            f"{shown(place)}?…: a signature in a URL would stand in the outputs, too; set the "
            "store's credentials in its own settings"
        )


def _nameless(folder: str) -> RadiographError:
    message = (
        f"{shown(folder)}/: a folder without a name (two slashes in a row) is not looked into; "
    )
    return RadiographError(
        f"{message}name its files one by one, or move them", reason="unsupported"
    )


def _listing(system, path: str) -> list[tuple[str, bool]]:
    """What a folder holds, the last name first: (path, is it a folder?). An object of S3 may have
    the name of a folder, and a folder none at all: its path then ends with a slash."""
    found = patiently(lambda: system.ls(path, detail=True))
    system.invalidate_cache()  # fsspec would keep the lists of all folders
    own = path.rstrip("/")
    entries = {(one["name"].rstrip("/"), one["type"] == "directory") for one in found}
    named = sorted(
        (
            (name, is_folder)
            for name, is_folder in entries
            if name != own and not _passed_over(PurePosixPath(name).name)
        ),
        key=lambda entry: (PurePosixPath(entry[0]).name, entry[1]),
        reverse=True,
    )
    # Other stores list a folder in itself, or end all folders' names with a slash.
    nameless = (own, True) in entries and "s3" in system.protocol
    return [*named, (f"{own}/", True)] if nameless else named


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name.upper() == "DICOMDIR"


def opened(url: str) -> tuple[Any, str]:
    """The store of a URL, and the path in it. Raises SettingsError if it cannot be opened."""
    scheme, _, rest = url.partition("://")
    system = _system(scheme.lower(), rest.split("/")[0])
    return system, system._strip_protocol(url)


@lru_cache(maxsize=64)  # fsspec's own keeps one for each thread
def _system(scheme: str, host: str):
    where = f"{scheme}://{host}"
    user, at, _ = host.rpartition("@")
    if "::" in where or (at and ":" in user):
        raise SettingsError(
            f"{scheme}://…: neither chains of stores nor passwords in a URL; "
            "set the store's credentials in its own settings"
        )
    try:
        import fsspec
    except ImportError as error:
        raise SettingsError(f"{where}: needs fsspec: {installed('cluster')}") from error
    try:
        return fsspec.core.url_to_fs(f"{where}/")[0]
    except ValueError as error:
        if "rotocol not known" not in str(error):
            raise SettingsError(f"{where}: {explained(error)[1]}") from error
        raise SettingsError(f"{where}: no store is called {scheme}; check its spelling") from error
    except ImportError as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise SettingsError(f"{where}: {why}, on every machine of the cluster") from error
    except Exception as error:
        raise SettingsError(f"{where}: {explained(error)[1]}") from error


def explained(error: Exception) -> tuple[str, str]:
    """A stable word for a store's refusal, and what to tell and to do."""
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "missing", "there is no such file or store; check the name"
    refused = getattr(error, "status", None) in (401, 403)  # a web server's
    if isinstance(error, PermissionError) or refused or "Credential" in kind:
        return "no_permission", "the store gives no permission; check its credentials"
    if isinstance(error, IsADirectoryError):
        return "not_a_file", "a folder, not a file; name a file"
    said = _QUERY.sub("?…", " ".join(str(error).split()))[:200]  # a redirect's may be signed
    why = f"{kind}: {said}" if said else kind
    return "unreadable", f"the store does not answer ({why}); check the name and the network"
