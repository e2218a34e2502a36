"""A data set looked at file by file, to split it without leaks, or to check a split on it."""

from pathlib import Path

from kirik.console import Console
from kirik.dataset.check import absent, check_split, nothing_binds
from kirik.dataset.duplicates import Duplicates, find_duplicates
from kirik.dataset.groups import LONGEST_RUN
from kirik.dataset.index import Index, left_out
from kirik.dataset.inspect import FileFacts, inspect_files
from kirik.dataset.places import refuse_unwritable
from kirik.dataset.sources import load_index
from kirik.dataset.sources.bonds import bonds_of_tags
from kirik.dataset.split import Split, load_split, make_split, write_split


def split_data(
    data: Path,
    out: Path,
    *,
    folds: int = 4,
    test_share: float = 0.2,
    seed: int = 0,
    console: Console | None = None,
) -> tuple[Split, Index]:
    """Look at every file, then write a split that tears no group and leaves bad files out.

    Excluded: radiographs that cannot be decoded, and duplicates whose labels contradict each
    other. Raises SplitError if the split cannot be made, would leak, or cannot be written; what can
    be told of the last before anything is decoded, as OutputError.
    """
    refuse_unwritable(out)
    index, facts, duplicates = _looked_at(data, console or Console())
    excluded = {file.id: file.problem for file in facts if not file.decoded}
    excluded |= {i: "conflicting-duplicate" for _, ids in duplicates.opposite for i in ids}
    pairs = duplicates.pairs()
    split = make_split(
        index,
        pairs,
        folds=folds,
        test_share=test_share,
        seed=seed,
        excluded=excluded,
        name=out.stem,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_split(split, out, index=index, duplicates=pairs)
    return split, index


def check(name: str | Path, data: Path, *, console: Console | None = None):
    """Leaks of a split on a data set, the ids that it names and that are absent, and whether
    nobody says what is of one patient or exam."""
    split = load_split(name)
    index, _, duplicates = _looked_at(data, console or Console())
    leaks = check_split(split, index, duplicates.pairs())
    return leaks, absent(split, index), nothing_binds(split, index)


def _looked_at(data: Path, console: Console) -> tuple[Index, list[FileFacts], Duplicates]:
    """A data set with the groups that its files tell of besides, their facts, and duplicates."""
    index = load_index(data)
    with console.decoding("looking at every file") as progress:
        facts = inspect_files(index, progress=progress)
    labels = {record.id: record.label for record in index.records}
    bonds = bonds_of_tags({file.id: file.whose for file in facts})
    if line := left_out(index.defects, index.by_id):
        console.say(f"{line}; kirik data audit names all")
    crowded = [defect for defect in index.defects if defect.kind == "crowded_folder"]
    if crowded:
        console.say(
            f"folders of more than {LONGEST_RUN} radiographs, taken for no patient's or exam's: "
            f"{len(crowded)}; first: {crowded[0].ids[0]} ({crowded[0].detail}); if they are one's, "
            "list the radiographs in a CSV with a column patient"
        )
    for line in bonds.told():
        console.say(line)
    return bonds.bound(index), facts, find_duplicates(facts, labels)
