"""Partitions: planned once, each written whole, each read again only if it is not there."""

import fsspec
import pytest

from kirik import stores
from kirik.archives import Member
from kirik.cluster import _begun, read_partition
from kirik.errors import OutputError, RadiographError, SettingsError
from kirik.output.folder import Folder
from kirik.output.records import counts_in_parquet
from kirik.partitions import find_all, finished_parts, part_name, read_plan, sources_of, write_plan
from kirik.predict import predict
from kirik.reading.classifier import load_model
from kirik.reading.reading import Failure
from kirik.stores import Remote


@pytest.fixture
def classifier(make_bundle):
    return load_model(make_bundle().path, threads=1)


@pytest.fixture
def films(save_radiograph):
    for i in range(10):
        path = save_radiograph(f"{i}.png", 0.2 + i / 20)
    save_radiograph("4b.png").write_text("not pixels")
    return path.parent


def planned(folder, classifier, inputs, each=4):
    sources = find_all(inputs, classifier.decoders)
    names = {"model": classifier.name, "digest": classifier.bundle.digest}
    return write_plan(folder, sources, **names, inputs=tuple(inputs), each=each)


def read_all(folder, run, classifier, numbers=None) -> list[dict]:
    return [
        read_partition(
            *(folder.place, run.id, classifier.classes, classifier, 2),
            {"number": number, "span": run.span(number)},
        )
        for number in (range(len(run.ends)) if numbers is None else numbers)
    ]


def test_a_plan_is_read_back_as_it_was_made(tmp_path):
    folder = Folder(str(tmp_path / "out"))
    sources = [
        *(tmp_path / "ü\udcff.png", Member("a.zip", "b.png"), Remote("s3://b/k.png")),
        Failure("c", "c: no such file", "missing"),
    ]
    run = write_plan(folder, sources, model="m", digest="d", inputs=("a", "b"), each=3)
    assert read_plan(folder) == run
    assert [run.size(0), run.size(1)] == [3, 1]
    assert sources_of(folder, *run.span(0)) + sources_of(folder, *run.span(1)) == sources


def test_partitions_hold_what_one_machine_reads(films, classifier, tmp_path):
    from pyarrow import dataset, parquet

    folder = Folder(str(tmp_path / "out"))
    run = planned(folder, classifier, [str(films)])
    outcomes = read_all(folder, run, classifier)
    assert [one["read"] + one["failed"] for one in outcomes] == [4, 4, 3]
    predict([films], classifier, parquet=tmp_path / "one.parquet")
    expected = parquet.read_table(tmp_path / "one.parquet")
    assert dataset.dataset(folder.place).to_table().equals(expected)
    before = (tmp_path / "out" / part_name(1)).read_bytes()
    read_all(folder, run, classifier, [1])
    assert (tmp_path / "out" / part_name(1)).read_bytes() == before


def test_a_store_is_read_and_written_like_a_folder(films, classifier, tmp_path):
    """Also an object without a suffix, which only its first bytes tell from the rest."""
    from pyarrow import parquet

    memory = fsspec.filesystem("memory")
    for path in films.iterdir():
        memory.pipe_file(f"/films/{path.name}", path.read_bytes())
    memory.pipe_file("/films/5b", (films / "5.png").read_bytes())
    memory.pipe_file("/films/readme.txt", b"words")
    memory.pipe_file("/films/9.zip", b"PK")
    folder = Folder("memory://out")
    run = planned(folder, classifier, ["memory://films"], each=100)
    [outcome] = read_all(folder, run, classifier)
    rows = parquet.read_table("/out/" + part_name(0), filesystem=memory).to_pylist()
    memory.rm("/", recursive=True)
    (films / "5b").write_bytes((films / "5.png").read_bytes())
    here = {one.path: one for one in classifier.read_many(find_all([str(films)], None))}
    assert outcome["failed"] == 2
    for row in rows:
        twin = here.pop(row["path"].replace("memory://films", str(films)), None)
        if row["path"].endswith(".zip"):
            assert row["reason"] == "unsupported"
        elif isinstance(twin, Failure):
            assert row["reason"] == twin.reason
            assert str(films) not in row["error"]
        else:
            assert row["probability"] == float(f"{twin.probability:.6f}")
    assert not here


def test_an_object_that_is_named_beside_its_folder_is_read_once():
    memory = fsspec.filesystem("memory")
    for name in ("a.png", "dir/b.png", "dir/c.png"):
        memory.pipe_file(f"/films/{name}", b"x")
    folder, file = "memory://films", "memory://films/dir/b.png"
    rest = ["memory://films/a.png", "memory://films/dir/c.png"]
    places = {
        named: [str(one) for one in find_all(named, None)]
        for named in ((folder, file), (file, folder, file), (file, folder + "/dir", folder))
    }
    memory.rm("/", recursive=True)
    assert [sorted(found) for found in places.values()] == 3 * [sorted([*rest, file])]
    assert places[file, folder, file][0] == file


def test_a_file_named_before_and_after_a_url_is_read_once(films):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/one.png", b"x")
    file = sorted(films.glob("*.png"))[1]
    inputs = [str(file), "memory://one.png", str(films)]
    found = [str(one) for one in find_all(inputs, None)]
    memory.rm("/", recursive=True)
    assert found[:2] == [str(file), "memory://one.png"]
    rest = [str(one) for one in find_all([str(films)], None) if one != file]
    assert found[2:] == rest


def test_only_a_whole_file_of_this_run_counts_as_finished(films, classifier, tmp_path):
    folder = Folder(str(tmp_path / "out"))
    run = planned(folder, classifier, [str(films)])
    read_all(folder, run, classifier, [0, 1])
    assert sorted(finished_parts(folder, run)) == [0, 1]
    part = tmp_path / "out" / part_name(1)
    whole = part.read_bytes()
    for end in (0, 3, 100, len(whole) - 1):
        part.write_bytes(whole[:end])
        assert sorted(finished_parts(folder, run)) == [0]
    part.write_bytes(whole)
    other = planned(folder, classifier, [str(films)])
    assert finished_parts(folder, other) == {}
    with pytest.raises(SettingsError, match="another run has begun"):
        read_all(folder, run, classifier, [2])


def test_counts_stand_in_a_file_whose_last_words_are_long(classifier):
    from kirik.output.records import parquet_bytes

    counts = {"run": "x" * 100_000}
    file = parquet_bytes([], classifier.classes, counts)
    assert counts_in_parquet(lambda start: file[start:]) == counts


def test_a_partition_of_which_nothing_can_be_opened_is_left_out_once(films, classifier, tmp_path):
    """A machine without the shared folder must not turn its share of the files into failures."""
    folder = Folder(str(tmp_path / "out"))
    run = planned(folder, classifier, [str(films)])
    films.rename(films.with_name("away"))
    [outcome] = read_all(folder, run, classifier, [0])
    assert "partition 0 was left out" in outcome["problem"]
    assert "no such file" in outcome["problem"]
    assert finished_parts(folder, run) == {}
    [outcome] = read_all(folder, run, classifier, [0])
    assert (outcome["problem"], outcome["failed"]) == ("", 4)
    assert sorted(finished_parts(folder, run)) == [0]


def test_a_partition_on_whose_way_the_store_went_down_is_left_out_once(
    films, classifier, monkeypatch
):
    """What was read before must not make the rest failures for good."""
    memory = fsspec.filesystem("memory")
    for path in films.glob("[0-3].png"):
        memory.pipe_file(f"/films/{path.name}", path.read_bytes())
    folder, real = Folder("memory://out"), type(memory).cat_file
    run = planned(folder, classifier, ["memory://films"])
    gone = {"/films/2.png", "/films/3.png"}

    def cat_file(self, path, **options):
        if path in gone:
            raise OSError("down")
        return real(self, path, **options)

    monkeypatch.setattr(type(memory), "cat_file", cat_file)
    monkeypatch.setattr(stores, "_PAUSE", 0)
    [outcome] = read_all(folder, run, classifier)
    assert (
        "partition 0 was left out: memory://films/2.png: the store does not" in outcome["problem"]
    )
    assert finished_parts(folder, run) == {}
    gone.remove("/films/3.png")  # the other one never comes
    [outcome] = read_all(folder, run, classifier)
    memory.rm("/", recursive=True)
    assert (outcome["problem"], outcome["read"], outcome["failed"]) == ("", 3, 1)


def test_what_was_missing_when_the_run_began_is_a_row_at_once(films, classifier, tmp_path):
    folder = Folder(str(tmp_path / "out"))
    run = planned(folder, classifier, [str(films / "nowhere.png")])
    [outcome] = read_all(folder, run, classifier)
    assert (outcome["problem"], outcome["failed"]) == ("", 1)


def test_a_folder_of_another_run_is_refused(films, classifier, make_bundle, tmp_path):
    folder, inputs = Folder(str(tmp_path / "out")), (str(films),)
    assert _begun(folder, classifier, inputs, False) is None
    run = planned(folder, classifier, inputs)
    assert _begun(folder, classifier, inputs, True) == run
    with pytest.raises(SettingsError, match="go on with it by --resume"):
        _begun(folder, classifier, inputs, False)
    with pytest.raises(SettingsError, match="begun with other files"):
        _begun(folder, classifier, (str(films / "1.png"),), True)
    other = load_model(make_bundle("other").path)
    with pytest.raises(SettingsError, match="begun with the model bright;"):
        _begun(folder, other, inputs, True)
    classifier.bundle.path.rename(tmp_path / "bright")
    twin = load_model(make_bundle(temperature=2.0).path)
    with pytest.raises(SettingsError, match="of another make than this bright"):
        _begun(folder, twin, inputs, True)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "table.parquet").write_bytes(b"")
    with pytest.raises(SettingsError, match="Parquet files of something else"):
        _begun(Folder(str(tmp_path / "else")), classifier, inputs, False)
    (tmp_path / "out" / "_run.json").write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        _begun(folder, classifier, inputs, True)


def test_a_plan_that_was_cut_off_is_made_again(films, classifier, tmp_path):
    folder = Folder(str(tmp_path / "out"))

    def breaking_off():
        yield films / "1.png"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_plan(folder, breaking_off(), model="m", digest="d", inputs=("a",), each=1)
    assert read_plan(folder) is None
    assert folder.names() == []
    with pytest.raises(RadiographError, match="no radiographs in there"):
        planned(folder, classifier, [str(tmp_path / "out")])
