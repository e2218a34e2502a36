"""Read files over a Ray cluster into partitioned Parquet: all of `kirik predict --cluster`."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from kirik.errors import OutputError, SettingsError
from kirik.files import shown
from kirik.output.folder import Folder
from kirik.output.records import parquet_bytes
from kirik.partitions import (
    SUCCESS,
    Run,
    check_still,
    find_all,
    finished_parts,
    part_name,
    read_plan,
    sources_of,
    write_plan,
)
from kirik.predict import Summary
from kirik.reading import outage
from kirik.reading.classifier import Classifier
from kirik.reading.cluster import connected, over_cluster
from kirik.reading.reading import Failure, Reading
from kirik.stores import Remote, is_url, local_path

EACH = 1000
"""Files in a partition: a minute's work of a core, and a file that is worth its name."""
_SHOWN = 20
"""Failures that a partition tells of; its file has them all."""

Progress = Callable[[int, int, int], None]
"""Called with what an earlier run had done, then after each partition: files that are done, files
in all, and how many of them failed."""


def predict_on_cluster(
    paths: Iterable[Path | str],
    classifier: Classifier,
    *,
    parquet: Path | str,
    resume: bool = False,
    each: int = EACH,
    cores: int | None = None,
    workers: int | None = None,
    engine: str = "onnxruntime",
    progress: Progress | None = None,
) -> Summary:
    """Read all radiographs of paths and URLs on the machines of a Ray cluster.

    parquet: a folder or URL, for one file a partition; see `kirik.partitions`. The rows are those
    of `kirik.predict.predict`, in the same order, a failure's included.
    resume: go on with the partitions that a stopped run left. each: files in a partition.
    cores, workers, engine: see `over_cluster`.

    A partition of whose files none can be opened, or on whose way the store no longer answers, is
    left out once, as that is more often a machine's or a store's fault; it is a problem of the
    summary, and read again with `resume`.
    Raises OutputError if the folder cannot be written, SettingsError if it is another run's, or
    there is no such store or cluster, and RadiographError if there is nothing to read.
    """
    for what, count in {"files in a partition": each, "threads": cores, "workers": workers}.items():
        if count is not None and count < 1:
            raise SettingsError(f"{what} {count}: it must be 1 or more")
    inputs, folder = _places(paths, parquet)
    run = _begun(folder, classifier, inputs, resume)
    # Before the plan, which may take hours to make.
    with connected(cores or 1) as ray:
        if run is None:
            names = {"model": classifier.name, "digest": classifier.bundle.digest}
            sources = find_all(inputs, classifier.decoders)
            run = write_plan(folder, sources, **names, inputs=inputs, each=each)
        finished = finished_parts(folder, run)
        summary, done = _before(finished.values()), sum(map(run.size, finished))
        if progress:
            progress(done, run.files, summary.failed)
        left = [number for number in range(len(run.ends)) if number not in finished]
        pieces = [{"number": number, "span": run.span(number)} for number in left]
        work = partial(read_partition, folder.place, run.id, classifier.classes)
        sizes = {"cores": cores or 1, "workers": workers, "engine": engine}
        for outcome in over_cluster(ray, classifier.bundle, work, pieces, **sizes):
            done += run.size(outcome["number"])
            _add(summary, outcome)
            if progress:
                progress(done, run.files, summary.failed)
    if not summary.problems:
        kinds = {"read": summary.read, "failed": summary.failed, "decisions": summary.decisions}
        folder.write(SUCCESS, json.dumps(kinds).encode() + b"\n")
    return summary


def _places(paths: Iterable[Path | str], parquet: Path | str) -> tuple[tuple[str, ...], Folder]:
    """Absolute, as another machine knows no other; what it cannot see is refused."""
    inputs = tuple(local_path(str(path)) or str(path) for path in paths)
    for place in (*inputs, str(parquet)):
        if place.lower().startswith("memory:"):
            raise SettingsError(
                f"{shown(place)}: this process's memory, which no other machine sees; "
                "name a folder that all share, or a store"
            )
    if Path(str(parquet)).is_file() and not is_url(str(parquet)):
        raise OutputError(f"{shown(str(parquet))}: a file; with --cluster, name a folder")
    return inputs, Folder(str(parquet))


def _begun(
    folder: Folder, classifier: Classifier, inputs: tuple[str, ...], resume: bool
) -> Run | None:
    """The run that is gone on with; None where one begins. Raises SettingsError if the folder is
    another run's."""
    run = read_plan(folder)
    if run is None:
        if any(name.endswith(".parquet") for name in folder.names()):
            raise SettingsError(f"{folder}: has Parquet files of something else; name another")
        return None
    if not resume:
        raise SettingsError(
            f"{folder}: has a run's readings; go on with it by --resume, or name another folder"
        )
    if run.digest != classifier.bundle.digest:
        same = f", of another make than this {run.model}" if run.model == classifier.name else ""
        raise SettingsError(
            f"{folder}: begun with the model {run.model}{same}; go on with that one, or name "
            "another folder"
        )
    if run.inputs != inputs:
        first = ", ".join(map(shown, run.inputs[:3])) + (", …" if len(run.inputs) > 3 else "")
        raise SettingsError(
            f"{folder}: begun with other files ({first}); go on with those, or name another folder"
        )
    return run


def read_partition(
    place: str,
    run_id: str,
    classes: Sequence[str],
    classifier: Classifier,
    workers: int,
    piece: dict,
) -> dict:
    """Read one partition and write its file: what a process of the cluster does.

    place, run_id: of the output and the run. Gives number, read, failed, decisions, a few failures,
    and a `problem` where the partition was left out.
    Raises OutputError if it cannot be written, SettingsError if the folder became another run's.
    """
    folder, number = Folder(place), piece["number"]
    check_still(folder, run_id)
    sources = sources_of(folder, *piece["span"])
    results = [_lean(one) for one in classifier.read_many(sources, workers=workers)]
    outcome = {"number": number, "problem": ""} | _counts(results)
    problem = _outage(sources, results)
    tried = f"_tried-{number:08}"
    if problem and folder.read(tried) is None:
        folder.write(tried, b"\n")
        return outcome | {"problem": f"partition {number} was left out: {problem}"}
    counts = {name: outcome[name] for name in ("read", "failed", "decisions")}
    folder.write(part_name(number), parquet_bytes(results, classes, counts | {"run": run_id}))
    return outcome


def _lean(result: Reading | Failure) -> Reading | Failure:
    """Without its evidence map, of which a partition's would take gigabytes."""
    return result if isinstance(result, Failure) else replace(result, evidence=None)


def _counts(results: Sequence[Reading | Failure]) -> dict:
    failures = [one for one in results if isinstance(one, Failure)]
    decisions = Counter(one.decision for one in results if isinstance(one, Reading))
    return {
        "read": len(results) - len(failures),
        "failed": len(failures),
        "decisions": dict(decisions),
        "failures": [[one.path, one.error, one.reason] for one in failures[:_SHOWN]],
    }


def _outage(sources: Sequence, results: Sequence[Reading | Failure]) -> str | None:
    """Why a file could not be opened by its machine's or its store's fault, rather than its own, if
    so: none of the partition's could, or the store did not answer. What was no file when the plan
    was made does not count."""
    known = {one.path for one in sources if isinstance(one, Failure)}
    failed = [one for one in results if isinstance(one, Failure) and one.path not in known]
    remote = {one.url for one in sources if isinstance(one, Remote)}
    unanswered = [one for one in failed if one.reason == "unreadable" and one.path in remote]
    opened = len(results) - len(failed) - len(known)
    if failed and opened <= 0 and all(one.reason in outage.REASONS for one in failed):
        unanswered = failed
    return unanswered[0].error if unanswered else None


def _before(finished: Iterable[dict]) -> Summary:
    """Of the partitions that a stopped run had finished."""
    summary = Summary()
    for counts in finished:
        summary.read += counts["read"]
        summary.failed_before += counts["failed"]
        summary.decisions.update(counts["decisions"])
    summary.before = summary.read + summary.failed_before
    return summary


def _add(summary: Summary, outcome: dict) -> None:
    if outcome["problem"]:
        summary.problems.append(outcome["problem"])
        return
    summary.read += outcome["read"]
    summary.decisions.update(outcome["decisions"])
    summary.add_failures([Failure(*one) for one in outcome["failures"]], outcome["failed"])
