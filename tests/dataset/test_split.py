"""Splits tear no group, resemble the data set in every part, and leaks in them are found."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kirik import cli
from kirik.dataset import inspect
from kirik.dataset.check import absent, check_split, groups_of, select
from kirik.dataset.duplicates import find_duplicates
from kirik.dataset.groups import LONGEST_RUN, bind, exam_runs
from kirik.dataset.index import Index, Record
from kirik.dataset.inspect import inspect_files
from kirik.dataset.sources import load_index
from kirik.dataset.split import (
    Assignment,
    Split,
    class_counts,
    load_split,
    make_split,
    published_splits,
    write_split,
)
from kirik.errors import SplitError

FRACATLAS = Path(__file__).parents[3] / "shared" / "fracatlas"
HEADER = "image_id,group,split,fold,excluded_because\n"


def index_of(records: list[Record], classes: tuple[str, ...] = ("not_fractured", "fractured")):
    return Index(Path("data"), "csv", classes, 0, tuple(records))


def like_fracatlas(count: int, seed: int) -> Index:
    """Numbered radiographs in exams of one to five, one in five of them fractured."""
    draw = random.Random(seed)
    records: list[Record] = []
    while len(records) < count:
        region = draw.choice((("hand",), ("leg",), ("hand", "shoulder"), ("hip",)))
        fractured = draw.random() < 0.2
        for _ in range(draw.randint(1, 5)):
            name = f"IMG{len(records):07d}.jpg"
            label = int(fractured and draw.random() < 0.8)
            records.append(Record(name, Path(name), label, region=region))
    return index_of(records[:count])


def with_patients(count: int, seed: int) -> Index:
    """Radiographs of three classes, several to a patient."""
    draw = random.Random(seed)
    records = [
        Record(
            f"{i}.png",
            Path(f"{i}.png"),
            draw.choices((0, 1, 2), (6, 3, 1))[0],
            group=f"patient {draw.randrange(count // 3)}",
        )
        for i in range(count)
    ]
    return index_of(records, ("normal", "oblique", "spiral"))


def pairs(index: Index, count: int, seed: int) -> list[tuple[str, ...]]:
    draw = random.Random(seed)
    ids = [record.id for record in index.records]
    return [tuple(draw.sample(ids, draw.randint(2, 3))) for _ in range(count)]


def changed(whole: Split, image_id: str, **change) -> Split:
    new = replace(whole.assignments[image_id], **change)
    return Split(whole.name, {**whole.assignments, image_id: new})


def elsewhere(split: Split, image_id: str) -> Split:
    """The split with one radiograph moved to another side, and nothing else changed."""
    if split.assignments[image_id].split == "test":
        return changed(split, image_id, split="dev", fold=1)
    return changed(split, image_id, split="test", fold=None)


def side(split: Split, image_id: str) -> tuple[str, int | None]:
    assignment = split.assignments[image_id]
    return assignment.split, assignment.fold


class TestGroups:
    def test_consecutive_numbers_of_one_region_are_one_exam(self):
        regions = {0: "hand", 1: "hand", 2: "leg", 3: "leg", 5: "leg", 6: "hand", 7: "hand"}
        records = [
            Record(f"IMG{n:03d}.jpg", Path("x"), 0, region=(name,)) for n, name in regions.items()
        ]
        records += [
            Record("other8.jpg", Path("x"), 0, region=("hand",)),
            Record("IMG008.png", Path("x"), 0, region=("hand",)),
        ]
        runs = [[i[3:6] for i in run] for run in exam_runs(records) if run != ["other8.jpg"]]
        assert runs == [["000", "001"], ["002", "003"], ["005"], ["006", "007", "008"]]

    def test_no_exam_is_seen_without_region_or_number(self):
        records = [Record(f"IMG{n}.jpg", Path("x"), 0) for n in range(5)]
        records += [Record(f"{c}.jpg", Path("x"), 0, region=("hand",)) for c in "abc"]
        assert exam_runs(records) == []
        assert len(set(bind(records, []).values())) == 8

    def test_a_data_set_of_one_region_is_not_one_exam(self):
        records = [Record(f"{n:04d}.png", Path("x"), 0, region=("hand",)) for n in range(200)]
        assert [len(run) for run in exam_runs(records)] == [LONGEST_RUN] * 5

    def test_the_users_groups_replace_file_numbers(self):
        records = [
            Record("1.png", Path("x"), 0, "p1", ("hand",)),
            Record("2.png", Path("x"), 0, "p2", ("hand",)),
            Record("9.png", Path("x"), 0, "p1", ("hand",)),
            Record("10.png", Path("x"), 0, None, ("hand",)),
        ]
        groups = bind(records, [])
        assert groups["1.png"] == groups["9.png"]
        assert len(set(groups.values())) == 3

    def test_duplicates_chain_groups_together_and_strangers_are_ignored(self):
        records = [Record(name, Path("x"), 0) for name in "abcdef"]
        groups = bind(records, [("a", "b"), ("f", "gone"), ("b", "c", "d"), ("e",), ()])
        assert len({groups[name] for name in "abcd"}) == 1
        assert len(set(groups.values())) == 3

    def test_names_of_patients_do_not_come_out(self):
        split = make_split(with_patients(300, 0))
        assert all(a.group.startswith("g") for a in split.assignments.values())


class TestMakeSplit:
    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize("source", [like_fracatlas, with_patients])
    def test_nothing_that_belongs_together_is_torn(self, source, seed):
        index = source(400, seed)
        duplicates = pairs(index, 40, seed)
        split = make_split(index, duplicates, folds=2 + seed % 3, seed=seed)
        assert set(split.assignments) == set(index.by_id)
        assert check_split(split, index, duplicates) == []
        for bond in duplicates:
            assert len({side(split, i) for i in bond}) == 1
        if source is with_patients:
            sides = {(record.group, side(split, record.id)) for record in index.records}
            assert len(sides) == len({record.group for record in index.records})
        else:
            for run in exam_runs(index.records):
                assert len({side(split, i) for i in run}) == 1

    @pytest.mark.parametrize("seed", range(3))
    def test_every_part_has_its_share_of_each_class_and_region(self, seed):
        index = like_fracatlas(1200, seed)
        split = make_split(index, seed=seed)
        total = index.counts()
        for part, counts in class_counts(split, index).items():
            assert part in ("test", "fold1", "fold2", "fold3", "fold4")
            for name, count in counts.items():
                assert abs(count - total[name] / 5) <= 2
        strata = Counter((r.label, r.region) for r in index.records)
        for part in ("test", "fold1", "fold2", "fold3", "fold4"):
            held = Counter((r.label, r.region) for r in select(index, split, part))
            assert all(abs(held[s] - n / 5) <= 4 for s, n in strata.items())

    @pytest.mark.parametrize("seed", range(3))
    def test_hardware_is_spread(self, seed):
        index, draw = with_patients(600, seed), random.Random(seed)
        marked = tuple(replace(r, hardware=draw.random() < 0.1) for r in index.records)
        index = replace(index, records=marked)
        split = make_split(index, seed=seed)
        total = sum(record.hardware for record in marked)
        for part in ("test", "fold1", "fold2", "fold3", "fold4"):
            assert abs(sum(r.hardware for r in select(index, split, part)) - total / 5) < 3

    def test_the_same_seed_gives_the_same_split_in_any_order(self):
        index = like_fracatlas(300, 1)
        duplicates = pairs(index, 20, 1)
        shuffled = list(index.records)
        random.Random(0).shuffle(shuffled)
        first = make_split(index, duplicates, seed=3)
        again = make_split(replace(index, records=tuple(shuffled)), duplicates[::-1], seed=3)
        assert list(first.assignments.values()) == list(again.assignments.values())
        assert make_split(index, duplicates, seed=4).assignments != first.assignments

    def test_excluded_radiographs_are_in_no_part(self):
        index = like_fracatlas(300, 2)
        reasons = {index.records[i].id: "truncated" for i in (0, 7, 100)}
        split = make_split(index, excluded=reasons)
        excluded = {i: a for i, a in split.assignments.items() if a.split == "excluded"}
        assert {i: a.excluded_because for i, a in excluded.items()} == reasons
        assert not set(reasons) & {record.id for record in select(index, split, "all")}
        assert len(select(index, split, "all")) == 297

    def test_no_test_part_where_none_is_wanted(self):
        index = like_fracatlas(200, 3)
        split = make_split(index, test_share=0, folds=5)
        assert split.part("test") == ()
        assert split.folds == (1, 2, 3, 4, 5)
        assert len(split.part("dev")) == 200
        with pytest.raises(SplitError, match=r"part test is empty"):
            select(index, split, "test")

    def test_train_and_fold_are_each_others_rest(self):
        index = like_fracatlas(200, 3)
        split = make_split(index)
        for fold in split.folds:
            train = {r.id for r in select(index, split, f"train{fold}")}
            held_out = {r.id for r in select(index, split, f"fold{fold}")}
            assert not train & held_out
            assert train | held_out == {a.image_id for a in split.part("dev")}

    @pytest.mark.parametrize(("folds", "share"), [(1, 0.2), (0, 0.2), (4, 1.0), (4, -0.1)])
    def test_settings_that_make_no_split_are_refused(self, folds, share):
        with pytest.raises(SplitError, match=r"at least 2 folds and a share"):
            make_split(like_fracatlas(50, 0), folds=folds, test_share=share)

    def test_a_class_in_too_few_groups_is_refused(self):
        records = [Record(f"f{i}.png", Path("x"), 1, "p1") for i in range(30)]
        records += [Record(f"n{i}.png", Path("x"), 0) for i in range(60)]
        with pytest.raises(SplitError, match=r"class 'fractured' has 1 group.*5 parts; choose"):
            make_split(index_of(records))

    def test_every_part_has_every_class_though_groups_are_unequal(self):
        sizes = (60, 2, 1, 1, 1)
        records = [
            Record(f"{patient}-{i}.png", Path("x"), 1, f"p{patient}")
            for patient, size in enumerate(sizes)
            for i in range(size)
        ]
        records += [Record(f"n{i}.png", Path("x"), 0, f"n{i}") for i in range(100)]
        counts = class_counts(make_split(index_of(records)), index_of(records))
        assert sorted(count["fractured"] for count in counts.values()) == sorted(sizes)


class TestLeaks:
    @pytest.mark.parametrize("seed", range(5))
    def test_a_moved_radiograph_tears_its_group(self, seed):
        index = like_fracatlas(200, seed)
        split = make_split(index, seed=seed)
        several = Counter(a.group for a in split.assignments.values())
        ids = [i for i, a in split.assignments.items() if several[a.group] > 1]
        image_id = random.Random(seed).choice(ids)
        leaks = check_split(elsewhere(split, image_id), index)
        assert [leak.kind for leak in leaks] == ["group_torn"]
        assert image_id in leaks[0].ids
        assert image_id in str(leaks[0])
        assert "test" in str(leaks[0])

    def test_duplicates_on_two_sides_are_named(self):
        index = like_fracatlas(200, 1)
        split = make_split(index)
        one, other = select(index, split, "fold1")[0].id, select(index, split, "fold2")[0].id
        near = select(index, split, "fold1")[1].id
        leaks = check_split(split, index, [(one, near), (near, other)])
        assert [leak.kind for leak in leaks] == ["duplicates_torn"]
        assert set(leaks[0].ids) == {one, near, other}
        assert f"{other} in fold2" in leaks[0].detail

    def test_an_excluded_duplicate_leaks_nothing_but_still_binds(self):
        index = index_of([Record(f"{c}.png", Path("x"), i % 2) for i, c in enumerate("abcdefgh")])
        split = make_split(index, folds=2, test_share=0, excluded={"b.png": "truncated"})
        one = split.part("fold1")[0].image_id
        other = split.part("fold2")[0].image_id
        assert check_split(split, index, [(one, "b.png")]) == []
        leaks = check_split(split, index, [(one, "b.png"), ("b.png", other)])
        assert [set(leak.ids) for leak in leaks] == [{one, other}]

    def test_a_patient_on_two_sides_is_named_by_radiographs_alone(self):
        index = with_patients(200, 1)
        split = make_split(index)
        several = Counter(record.group for record in index.records)
        torn = next(r for r in index.records if several[r.group] > 1)
        free = changed(elsewhere(split, torn.id), torn.id, group="g9999")
        assert [leak.kind for leak in check_split(elsewhere(split, torn.id), index)] == [
            "group_torn",
            "user_group_torn",
        ]
        leaks = check_split(free, index)
        assert [leak.kind for leak in leaks] == ["user_group_torn"]
        assert torn.id in leaks[0].ids
        assert "patient" not in str(leaks[0])

    def test_exams_are_seen_by_file_numbers_where_the_split_knows_none(self):
        index = like_fracatlas(200, 1)
        ids = [record.id for record in index.records]
        random.Random(0).shuffle(ids)
        rows = {i: Assignment(i, i, "dev", 1 + n % 4) for n, i in enumerate(ids)}
        kinds = Counter(leak.kind for leak in check_split(Split("random", rows), index))
        assert set(kinds) == {"exam_torn"}
        assert kinds["exam_torn"] > 10

    def test_radiographs_in_no_part_are_named(self):
        index = like_fracatlas(50, 1)
        split = make_split(index, folds=2, test_share=0)
        rest = dict(list(split.assignments.items())[2:])
        leaks = check_split(Split("s", rest), index)
        assert [(leak.kind, len(leak.ids)) for leak in leaks] == [("not_in_split", 2)]
        assert "2 radiographs" in str(leaks[0])

    def test_absent_radiographs_are_no_leak(self):
        index = like_fracatlas(100, 1)
        split = make_split(index)
        fold1 = {record.id for record in select(index, split, "fold1")}
        present = index_of([record for record in index.records if record.id not in fold1])
        assert check_split(split, present) == []
        assert set(absent(split, present)) == fold1
        assert len(select(present, split, "fold2")) == len(split.part("fold2"))
        message = (
            rf"{len(fold1)} of {len(fold1)} radiographs of part fold1 .* absent \(IMG.* more\)"
        )
        with pytest.raises(SplitError, match=message):
            select(present, split, "fold1")
        with pytest.raises(SplitError, match=r"radiographs of part train2"):
            select(present, split, "train2")

    def test_an_unknown_part_is_answered_with_those_there_are(self):
        index = like_fracatlas(100, 1)
        split = make_split(index, folds=2)
        for part in ("fold3", "train0", "excluded", "Test"):
            with pytest.raises(SplitError, match=r"has no part .*fold1, train1, fold2, train2"):
                select(index, split, part)


class TestFiles:
    def test_a_split_comes_back_as_it_was(self, tmp_path):
        index = like_fracatlas(100, 1)
        split = make_split(index, excluded={index.records[3].id: "truncated"}, name="mine")
        write_split(split, tmp_path / "mine.csv", index=index)
        assert load_split(tmp_path / "mine.csv") == split
        assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]

    def test_a_radiograph_in_another_fold_makes_another_digest(self):
        split = make_split(like_fracatlas(100, 1))
        moved = split.part("fold1")[0].image_id
        assert changed(split, moved, fold=2).digest != split.digest
        again = Split("other", dict(reversed(split.assignments.items())))
        assert again.digest == split.digest

    def test_a_split_that_leaks_is_not_written(self, tmp_path):
        index = like_fracatlas(100, 1)
        split = make_split(index)
        path = tmp_path / "mine.csv"
        write_split(split, path)
        before = path.read_bytes()
        first, second = exam_runs(index.records)[:2]
        run = first if len(first) > 1 else second
        with pytest.raises(SplitError, match=r"not written, since the split leaks in 1 place"):
            write_split(elsewhere(split, run[0]), path)
        one, other = select(index, split, "fold1")[0].id, select(index, split, "fold2")[0].id
        with pytest.raises(SplitError, match=r"near copies, of one radiograph in several parts"):
            write_split(split, path, index=index, duplicates=[(one, other)])
        assert path.read_bytes() == before

    def test_a_place_that_cannot_be_written_is_refused(self, tmp_path):
        split = make_split(like_fracatlas(100, 1))
        with pytest.raises(SplitError, match=r"cannot be written"):
            write_split(split, tmp_path / "nowhere" / "mine.csv")
        with pytest.raises(SplitError, match=r"cannot be written"):
            write_split(split, tmp_path)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("", "the table is empty"),
            ("image_id,part\na,dev\n", "not a split; its columns must be image_id,group"),
            (HEADER, "not a split"),
            (HEADER + "a,g0,dev,1,\nb,g1,train,2,\n", "line 3: split is 'train'; expected dev"),
            (HEADER + "a,g0,dev,one,\n", "line 2: fold is 'one'; expected 1, 2"),
            (HEADER + "a,g0,dev,0,\n", "line 2: fold is '0'"),
            (HEADER + "a,g0,dev,1,\nb,g1,test,1,\n", "line 3: b is in fold 1, but in test"),
            (HEADER + "a,g0,dev,1,\nb,g1,dev,2,\na,g2,test,,\n", "line 4: a is named twice"),
            (HEADER + "a,g0,dev,1,\n,g1,dev,2,\n", "line 3: image_id is empty"),
            (HEADER + "a,,dev,1,\n", "line 2: group is empty"),
            (HEADER + "a,g0,dev,1,\nb,g1,dev,,\nc,g2,dev,2,\n", "b and 0 others.*without a fold"),
            (HEADER + "a,g0,dev,1,\nb,g1,test,,\n", "dev has one fold alone"),
        ],
    )
    def test_a_file_that_is_no_split_is_refused_in_one_line(self, tmp_path, text, match):
        path = tmp_path / "bad.csv"
        path.write_text(text)
        with pytest.raises(SplitError, match=match) as caught:
            load_split(path)
        assert "\n" not in str(caught.value)
        assert "bad.csv" in str(caught.value)

    def test_a_split_that_is_nowhere_is_answered_with_the_published_ones(self, tmp_path):
        with pytest.raises(SplitError, match=r"no such split file.*fracatlas-v1"):
            load_split(tmp_path / "nowhere.csv")
        with pytest.raises(SplitError, match=r"cannot be read"):
            load_split(tmp_path)
        with pytest.raises(SplitError, match=r"cannot be looked at \(File name too long\)"):
            load_split("x" * 5000)

    def test_the_published_split_is_whole_and_tears_nothing(self):
        assert "fracatlas-v1" in published_splits()
        split = load_split("fracatlas-v1")
        assert Counter(a.split for a in split.assignments.values()) == {
            "dev": 3212,
            "test": 803,
            "excluded": 68,
        }
        assert split.folds == (1, 2, 3, 4)
        assert check_split(split, index_of([])) == []


def test_files_that_are_left_out_of_a_split_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inspect, "_can_spawn", lambda: False)
    noise = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / ("normal", "fractured")[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (48, 48), np.uint8)).save(path)
    out = tmp_path / "split.csv"
    command = ["data", "split", str(tmp_path), "--out", str(out), "--folds", "2"]
    assert cli.run(command) == 0
    assert "left out" not in capsys.readouterr().err
    for name in ("normal/new.webp", "fractured/new.bmp"):
        (tmp_path / name).write_bytes(b"no radiograph")
    assert cli.run(command) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "2 files were left out; first: fractured/new.bmp (no JPEG, PNG, TIFF or DICOM" in said


@pytest.fixture(scope="module")
def real() -> Index:
    return load_index(FRACATLAS)


@pytest.fixture(scope="module")
def duplicates(real) -> tuple[tuple[str, ...], ...]:
    """What the search finds in stretches of FracAtlas where files are known to come back later."""
    stretches = (*range(6), 1295, 1370, 1378, 1414, 1508, *range(2285, 2300))
    stretches += (*range(2620, 2662), *range(4060, 4085))
    names = {f"IMG{number:07d}.jpg" for number in stretches}
    some = replace(real, records=tuple(r for r in real.records if r.id in names))
    return find_duplicates(inspect_files(some, workers=0)).pairs()


@pytest.mark.real
@pytest.mark.skipif(not FRACATLAS.is_dir(), reason="FracAtlas is not in ../shared/fracatlas")
class TestRealFracAtlas:
    def test_the_published_split_has_no_leak(self, real, duplicates):
        assert len(duplicates) > 15
        assert check_split(load_split("fracatlas-v1"), real, duplicates) == []

    def test_its_groups_hold_the_exams_that_file_numbers_show(self, real):
        split = load_split("fracatlas-v1")
        for run in exam_runs(real.records):
            assert len({split.assignments[i].group for i in run}) == 1

    def test_a_radiograph_moved_in_it_is_found(self, real, duplicates):
        split = load_split("fracatlas-v1")
        leaks = check_split(elsewhere(split, "IMG0000019.jpg"), real)
        assert [leak.ids for leak in leaks] == [("IMG0000019.jpg", "IMG0000020.jpg")]
        alone = changed(elsewhere(split, "IMG0000004.jpg"), "IMG0000004.jpg", group="g9999")
        leaks = check_split(alone, real, duplicates)
        assert [leak.kind for leak in leaks] == ["duplicates_torn"]
        assert {"IMG0000004.jpg", "IMG0002297.jpg"} <= set(leaks[0].ids)

    def test_a_split_of_our_own_is_even(self, real, duplicates):
        split = make_split(real, duplicates)
        assert check_split(split, real, duplicates) == []
        total = real.counts()
        for counts in class_counts(split, real).values():
            assert all(abs(counts[name] - total[name] / 5) <= 2 for name in total)


def test_patients_of_the_data_set_join_groups_that_a_split_of_ones_own_keeps_apart():
    patients = ("ada", "ada", None, "ada", "eva")
    records = [Record(n, Path(n), 0, group=p) for n, p in zip("abcde", patients, strict=True)]
    own = ("g1", "g2", "g2", "g3", "g4")  # b's group holds c, too; x is not in the data set
    rows = [Assignment(n, g, "dev", 1) for n, g in zip("abcdex", (*own, "g5"), strict=True)]
    split = Split("own", {row.image_id: row for row in rows})
    found = groups_of(split, index_of(records))
    assert found == {"a": "g1", "b": "g1", "c": "g1", "d": "g1", "e": "g4", "x": "g5"}
