"""The plan of a run on many machines: which file belongs to which partition, written down first.

    OUT/_manifest.jsonl         one line a partition: its files, in order
    OUT/_ends.json              where each line ends in it
    OUT/_run.json               what the run is; written last, and without it there is no plan
    OUT/part-00000000.parquet   a partition's records, there whole or not at all
    OUT/_SUCCESS                when all partitions are there: how many records of which kind

Names that begin with _ are passed over by what reads a folder of Parquet files.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import groupby, islice
from pathlib import Path

from kirik.archives import Member, is_archive
from kirik.errors import OutputError, RadiographError, SettingsError
from kirik.files import shown
from kirik.output.folder import Folder
from kirik.reading.decoder import Decoders
from kirik.reading.reading import Failure, failure_of
from kirik.reading.sources import find_sources, once
from kirik.stores import Remote, is_url, walk

MANIFEST, ENDS, RUN, SUCCESS = "_manifest.jsonl", "_ends.json", "_run.json", "_SUCCESS"
_FORMAT = 1

Source = Path | Member | Remote | Failure


@dataclass(frozen=True)
class Run:
    """What a run reads, and with what.

    id: of this run alone. model, digest: the bundle's name, and the SHA-256 of its checksums.
    inputs: as they were asked for, absolute. each: files in a partition, the last may have fewer.
    files: in all. ends: where each partition's line ends in the manifest, in bytes.
    """

    id: str
    model: str
    digest: str
    inputs: tuple[str, ...]
    each: int
    files: int
    ends: tuple[int, ...]

    def span(self, number: int) -> tuple[int, int]:
        """Where a partition's line begins and ends in the manifest."""
        return (self.ends[number - 1] if number else 0), self.ends[number]

    def size(self, number: int) -> int:
        """How many files a partition has."""
        return min(self.each, self.files - number * self.each)


def part_name(number: int) -> str:
    """The file of a partition's records."""
    return f"part-{number:08}.parquet"


def find_all(inputs: Iterable[str], decoders: Decoders) -> Iterator[Source]:
    """All radiographs of paths and URLs, always in the same order, each once.

    Raises SettingsError where there is nothing at a URL.
    """
    inputs = list(inputs)
    seen: set[str] = set()
    # As each folder is walked once, only a file that is named itself can be met again.
    named, met = {place for place in inputs if is_url(place)}, set()
    runs = [(remote, list(places)) for remote, places in groupby(inputs, is_url)]
    met_here: set[int] = set()
    for remote, places in runs:
        if not remote:
            found = find_sources(places, decoders)
            yield from found if len(runs) <= 2 else once(found, met_here)
            continue
        for url in places:
            for source in _in_store(url, seen):
                place = source.path if isinstance(source, Failure) else source.url
                if place not in met:
                    yield source
                if place in named:
                    met.add(place)


def _in_store(url: str, seen: set[str]) -> Iterator[Source]:
    problems: list[Failure] = []
    for found in walk(url, lambda place, error: problems.append(failure_of(place, error)), seen):
        yield from problems
        problems.clear()
        if is_archive(Path(found.url)):
            why = f"{shown(found.url)}: an archive in a store is not opened; unpack it there"
            yield Failure(found.url, why, "unsupported")
        else:
            yield found
    yield from problems


def write_plan(
    folder: Folder,
    sources: Iterable[Source],
    *,
    model: str,
    digest: str,
    inputs: tuple[str, ...],
    each: int,
) -> Run:
    """Write down all sources, `each` a partition. Raises RadiographError if there are none."""
    sources = iter(sources)
    some = list(islice(sources, each))
    if not some:
        where = ", ".join(map(shown, inputs))
        raise RadiographError(f"{where}: no radiographs in there; name files, or a folder of them")
    files, ends, place = 0, [], 0
    with folder.writing(MANIFEST) as file:
        while some:
            line = json.dumps([_as_json(one) for one in some]).encode() + b"\n"
            file.write(line)
            files += len(some)
            place += len(line)
            ends.append(place)
            some = list(islice(sources, each))
    run = Run(uuid.uuid4().hex, model, digest, inputs, each, files, tuple(ends))
    said = {"format": _FORMAT} | asdict(run)
    folder.write(ENDS, json.dumps(said.pop("ends")).encode() + b"\n")
    folder.write(RUN, json.dumps(said).encode() + b"\n")
    return run


def read_plan(folder: Folder) -> Run | None:
    """The run that was begun in a folder; None if there is none. Raises OutputError."""
    written = folder.read(RUN)
    if written is None:
        return None
    try:
        said = json.loads(written)
        if said["format"] != _FORMAT:
            raise OutputError(f"{folder}: written by another kirik; name another folder")
        said["ends"] = json.loads(folder.read(ENDS) or b"")
        values = {field.name: said[field.name] for field in fields(Run)}
        return Run(**values | {"inputs": tuple(said["inputs"]), "ends": tuple(said["ends"])})
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{folder}/{RUN}: damaged; name another folder") from error


def check_still(folder: Folder, run_id: str) -> None:
    """Raises SettingsError if the folder's plan is another run's by now."""
    written = folder.read(RUN) or b"{}"
    if json.loads(written).get("id") != run_id:
        raise SettingsError(f"{folder}: another run has begun in it; name a folder for each")


def sources_of(folder: Folder, start: int, end: int) -> list[Source]:
    """A partition's files, in order, from its line's place in the manifest.

    Raises OutputError if the manifest is gone or damaged.
    """
    line = folder.read(MANIFEST, start, end)
    try:
        found = [_from_json(one) for one in json.loads(line or b"")]
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{folder}/{MANIFEST}: gone or damaged; begin in another folder") from (
            error
        )
    with ThreadPoolExecutor(16) as threads:
        worth = threads.map(lambda one: not isinstance(one, Remote) or one.worth_reading(), found)
        return [one for one, kept in zip(found, worth, strict=True) if kept]


def _as_json(source: Source) -> str | dict:
    if isinstance(source, Member):
        return {"archive": source.archive, "name": source.name}
    if isinstance(source, Failure):
        return {"path": source.path, "error": source.error, "reason": source.reason}
    if isinstance(source, Remote):
        return {"url": source.url} | ({} if source.sure else {"sure": False})
    return str(source)


def _from_json(said: str | dict) -> Source:
    if isinstance(said, str):
        return Path(said)
    for kind, word in ((Remote, "url"), (Member, "archive"), (Failure, "error")):
        if word in said:
            return kind(**said)
    raise KeyError(word)


def finished_parts(folder: Folder, run: Run) -> dict[int, dict]:
    """The partitions whose file is there, whole and of this run: number → its counts."""
    names = set(folder.names())
    there = [number for number in range(len(run.ends)) if part_name(number) in names]
    with ThreadPoolExecutor(16) as threads:
        told = threads.map(lambda number: _counts(folder, run, number), there)
        return {number: counts for number, counts in zip(there, told, strict=True) if counts}


def _counts(folder: Folder, run: Run, number: int) -> dict | None:
    from kirik.output.records import counts_in_parquet

    counts = counts_in_parquet(lambda start: folder.read(part_name(number), start))
    return counts if counts and counts.get("run") == run.id else None
