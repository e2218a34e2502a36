"""FracAtlas from figshare: fetched in as many pieces as it takes, checked, unpacked with care.

`download_fracatlas` can be stopped and called again at any time: what has arrived stays beside
the wanted folder in a `.part` file, and the folder itself appears only when it is complete.
"""

import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from kirik import __version__
from kirik.dataset.unpack import HostileArchive, unpack
from kirik.errors import DownloadError

FIGSHARE_API = "https://api.figshare.com/v2/articles/22363012"
LICENCE = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
CITATION = (
    "Abedeen, I. et al. FracAtlas: A Dataset for Fracture Classification, Localization and "
    "Segmentation of Musculoskeletal Radiographs. Scientific Data 10, 521 (2023). "
    "https://doi.org/10.1038/s41597-023-02432-4. "
    "Data: https://doi.org/10.6084/m9.figshare.22363012"
)
RECORD = "source.json"
"""Written into a data set's folder last: what it was made from, and so that it is complete."""

PAUSES = (1, 2, 4, 8, 16, 30)
"""Seconds to wait before each further attempt; counted anew whenever bytes have arrived."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all: of the download, of the check, then of unpacking."""

_TIMEOUT = 60
_BLOCK = 2**18
_LOCAL = ("localhost", "127.0.0.1", "::1")
_WORTH_RETRYING = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class _Source:
    """The archive as figshare lists it."""

    name: str
    size: int
    url: str
    md5: str


def download_fracatlas(
    directory: Path, *, api: str = FIGSHARE_API, progress: Progress | None = None
) -> Path:
    """Download FracAtlas into `directory`, which becomes the data set's own folder.

    If it is complete already (`is_complete`), nothing is done. Size and MD5 are held against
    figshare's; SHA-256, origin and licence are kept in `source.json`.

    Raises DownloadError; what had arrived by then is used by the next call.
    """
    directory, progress = Path(directory), progress or (lambda done, total: None)
    if is_complete(directory):
        return directory
    try:
        _refuse_occupied(directory)
        source = _listed(api)
        part = directory.with_name(directory.name + ".part")
        _fetch(source, part, progress)
        sha256 = _verify(source, part, progress)
        _unpack(source, part, directory, sha256, progress)
    except OSError as error:
        why = error.strerror or type(error).__name__
        message = f"{directory}: cannot write there ({why}); make room or name another folder"
        raise DownloadError(f"{message}, then run it again") from error
    return directory


def is_complete(directory: Path) -> bool:
    """Whether `download_fracatlas` has finished in this folder before."""
    return (directory / RECORD).is_file() and (directory / "images").is_dir()


def _refuse_occupied(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    if directory.is_dir() and not any(directory.iterdir()):
        return
    if directory.exists() or directory.is_symlink():
        raise DownloadError(
            f"{directory}: there are other files; name a new folder to download into"
        )


def _listed(api: str) -> _Source:
    """Ask figshare for the article's archive."""
    try:
        article = json.loads(_patiently(lambda: _get_text(api), api))
        archives = [f for f in article["files"] if f["name"].lower().endswith(".zip")]
        archives.sort(key=lambda f: "fracatlas" not in f["name"].lower())
        found = archives[0]
        md5 = found.get("computed_md5") or found["supplied_md5"]
        name = Path(found["name"]).name
        return _Source(name, int(found["size"]), found["download_url"], md5.lower())
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DownloadError(
            f"{api}: the answer lists no archive with size and checksum; try again later, or "
            "download the data set by hand from https://doi.org/10.6084/m9.figshare.22363012"
        ) from error


def _get_text(url: str) -> str:
    with _open(url, {}) as response:
        return response.read(2**24).decode("utf-8")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _refuse_insecure(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    _refuse_insecure(url)
    headers = {"User-Agent": f"kirik/{__version__}", "Accept-Encoding": "identity", **headers}
    request = urllib.request.Request(url, headers=headers)
    return urllib.request.build_opener(_SafeRedirects).open(request, timeout=_TIMEOUT)


def _refuse_insecure(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL):
        return
    raise DownloadError(f"{url}: not an https address; kirik downloads over https alone")


def _patiently(attempt: Callable, url: str, arrived: Callable[[], int] = lambda: 0):
    """Call `attempt` until it succeeds, with growing pauses. Raises DownloadError in the end.

    arrived: bytes that are there; while they are more than ever, patience does not run out. What is
    thrown away and fetched again is no progress.
    """
    tries, most = 0, arrived()
    while True:
        try:
            return attempt()
        except urllib.error.HTTPError as error:
            if error.code not in _WORTH_RETRYING:
                message = f"{url}: the server says {error.code} {error.reason}"
                raise DownloadError(f"{message}; try again later") from error
            problem = f"the server says {error.code} {error.reason}"
        except (_Network, urllib.error.URLError, http.client.HTTPException, OSError) as error:
            # A full disk stays full; only the line to the server is worth another attempt.
            if isinstance(error, _Disk):
                raise
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        tries, most = (0 if arrived() > most else tries), max(most, arrived())
        if tries >= len(PAUSES):
            raise DownloadError(
                f"{url}: {problem}; check the connection and run it again, it goes on from there"
            )
        time.sleep(PAUSES[tries])
        tries += 1


class _Network(Exception):
    """The answer broke off or does not fit what was asked for."""


class _Disk(OSError):
    """An OSError of the disk, told apart from the network's."""


def _fetch(source: _Source, part: Path, progress: Progress) -> None:
    """Bring `part` to the archive's full length, from wherever it stands."""
    memory = part.with_name(part.name + ".json")
    known = asdict(source) | {"url": ""}  # the address may change from day to day
    if not (memory.is_file() and memory.read_text() == json.dumps(known)):
        part.unlink(missing_ok=True)
    if _length(part) > source.size:
        part.unlink()
    memory.write_text(json.dumps(known))
    _refuse_small_disk(source, part)
    if _length(part) < source.size:
        _patiently(lambda: _fetch_rest(source, part, progress), source.url, lambda: _length(part))


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _refuse_small_disk(source: _Source, part: Path) -> None:
    # Radiographs hardly compress: unpacked they take about the archive's room again.
    needed = 2 * source.size - _length(part)
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise DownloadError(
            f"{part.parent}: {free / 2**20:,.0f} MiB free, {needed / 2**20:,.0f} MiB needed; "
            "make room or name another folder"
        )


def _fetch_rest(source: _Source, part: Path, progress: Progress) -> None:
    """One request: from the end of `part` on, or from the start if the server gives no parts."""
    start = _length(part)
    try:
        response = _open(source.url, {"Range": f"bytes={start}-"} if start else {})
    except urllib.error.HTTPError as error:
        if error.code == 416:
            part.unlink(missing_ok=True)
            raise _Network("the server's file has changed") from error
        raise
    with response:
        if start and response.status == 206:
            _check_range(response, start, source, part)
        else:
            start = 0
        _append(response, part, start, source.size, progress)
    if _length(part) < source.size:
        raise _Network("the connection broke off")


def _check_range(
    response: http.client.HTTPResponse, start: int, source: _Source, part: Path
) -> None:
    said = response.headers.get("Content-Range", "")
    if said.replace(" ", "") != f"bytes{start}-{source.size - 1}/{source.size}":
        part.unlink(missing_ok=True)
        raise _Network("the server sent another part than asked for")


def _append(
    response: http.client.HTTPResponse, part: Path, start: int, size: int, progress: Progress
) -> None:
    done = start
    with _disk_open(part, "ab" if start else "wb") as file:
        while done < size and (block := response.read(min(_BLOCK, size - done))):
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise _Disk(*error.args) from error
            done += len(block)
            progress(done, size)


def _disk_open(part: Path, mode: str):
    try:
        return part.open(mode)
    except OSError as error:
        raise _Disk(*error.args) from error


def _verify(source: _Source, part: Path, progress: Progress) -> str:
    """SHA-256 of the archive, once its MD5 is the promised one."""
    md5, sha256, done = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with part.open("rb") as file:
        while block := file.read(2**20):
            md5.update(block)
            sha256.update(block)
            done += len(block)
            progress(done, source.size)
    if md5.hexdigest() != source.md5:
        _forget(part)
        raise DownloadError(
            f"{source.name}: wrong checksum (MD5 {md5.hexdigest()}, promised {source.md5}); "
            "what had arrived was removed, run it again"
        )
    return sha256.hexdigest()


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".json").unlink(missing_ok=True)


def _unpack(source: _Source, part: Path, directory: Path, sha256: str, progress: Progress) -> None:
    """Unpack beside `directory`, then move the folder that has `images` in it to its place."""
    beside = directory.with_name(directory.name + ".unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        unpack(part, beside, progress=progress)
        roots = [beside, *sorted(path for path in beside.iterdir() if path.is_dir())]
        root = next((path for path in roots if (path / "images").is_dir()), None)
        if root is None:
            raise HostileArchive(
                f"{source.name}: the archive has no folder images; try again later"
            )
        _write_record(root / RECORD, source, sha256)
        if directory.is_dir():
            directory.rmdir()
        root.rename(directory)
    except HostileArchive:
        _forget(part)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    _forget(part)


def _write_record(path: Path, source: _Source, sha256: str) -> None:
    record = {
        "data_set": "FracAtlas",
        "archive": source.name,
        "url": source.url,
        "bytes": source.size,
        "md5": source.md5,
        "sha256": sha256,
        "licence": LICENCE,
        "citation": CITATION,
        "downloaded": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
