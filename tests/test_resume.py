"""A run that was killed goes on: no file twice, none missing, the same bytes as without a stop."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from PIL import Image

from kirik.cli import run
from kirik.errors import OutputError, SettingsError
from kirik.output.files import draft_of
from kirik.predict import predict
from kirik.reading.classifier import Classifier, load_model

OUTPUTS = ("r.jsonl", "r.json", "r.csv", "r.parquet")


@pytest.fixture
def films(save_radiograph):
    for i in range(60):
        path = save_radiograph(f"{i:02}.png", 0.2 + i / 100)
    save_radiograph("30b.png", 0.5).write_text("not pixels")
    return path.parent


def places(folder, name):
    kind = {".csv": "csv", ".parquet": "parquet"}.get(name[name.rindex(".") :], "json")
    return {kind: folder / name}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_run_that_is_killed_at_any_record_goes_on_to_the_same_file(
    films, make_bundle, tmp_path, name
):
    model = make_bundle()
    whole, again = tmp_path / "whole", tmp_path / "again"
    expected = predict([films], load_model(model.path), **places(whole, name))

    class Stop(Exception):
        pass

    for stop_at in (1, 7, 31, 32, 58):

        def stop(result, done, total, stop_at=stop_at):
            if done == stop_at:
                raise Stop

        with pytest.raises(Stop):
            predict([films], load_model(model.path), progress=stop, **places(again, name))
        seen = []
        summary = predict(
            [films],
            load_model(model.path),
            resume=True,
            progress=lambda result, done, total, seen=seen: seen.append((result.path, done)),
            **places(again, name),
        )
        assert len(seen) == 61 - stop_at
        assert [done for _, done in seen] == list(range(stop_at + 1, 62))
        assert (summary.read, summary.failed) == (expected.read, expected.failed)
        assert summary.decisions == expected.decisions
        assert summary.exit_code == 1
        assert rows(again / name) == rows(whole / name)
        if name != "r.parquet":
            assert (again / name).read_bytes() == (whole / name).read_bytes()
        (again / name).unlink()


def rows(path) -> list[dict]:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(path).to_pylist()
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    text = path.read_text()
    return json.loads(text) if path.suffix == ".json" else [*map(json.loads, text.splitlines())]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(("name", "at"), [*((name, 20) for name in OUTPUTS), ("r.jsonl", 50)])
def test_files_whose_disk_goes_away_are_no_failures_and_read_once_it_is_back(
    films, make_bundle, tmp_path, name, at, workers
):
    """At the 50th file fewer are left than make an outage by their number."""
    model, away, told = load_model(make_bundle().path), films.with_name("away"), []
    predict([films], model, **places(tmp_path / "whole", name))

    def leave(result, done, total):
        if done == at:
            films.rename(away)

    summary = predict(
        [films],
        model,
        batch_size=2,
        workers=workers,
        progress=leave,
        on_problem=told.append,
        **places(tmp_path, name),
    )
    assert (summary.exit_code, summary.problems, len(summary.failures)) == (2, told, at > 30)
    assert "cannot be opened any more, nor its folder be looked into" in told[0]
    assert not (tmp_path / name).exists()
    away.rename(films)
    summary = predict([films], model, resume=True, **places(tmp_path, name))
    assert (summary.exit_code, summary.read, summary.failed) == (1, 60, 1)
    assert rows(tmp_path / name) == rows(tmp_path / "whole" / name)


def test_a_disk_that_goes_away_is_told_with_how_to_go_on(films, make_bundle, tmp_path, capsys):
    frames = Classifier.frames

    def leaving(self, source):
        if str(source).endswith("20.png"):
            films.rename(films.with_name("away"))
        return frames(self, source)

    words = ["predict", str(films), "--model", str(make_bundle().path), "--workers", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "frames", leaving)
        assert run([*words, "--json", str(tmp_path / "r.json")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line] == [
        f"kirik: {films}/20.png: cannot be opened any more, nor its folder be looked into; "
        "nothing more was read: see to its disk or network drive",
        "kirik: the same command with --resume goes on from here",
    ]


def test_a_file_whose_disk_went_away_is_no_failure_though_others_were_opened_before(
    films, make_bundle, tmp_path, monkeypatch
):
    """One that comes after it in the list may have been quicker."""
    model, out, frames = load_model(make_bundle().path), tmp_path / "r.jsonl", Classifier.frames
    later = threading.Event()

    def leaving(self, source):
        if source == films / "20.png":
            assert later.wait(30)
            films.rename(films.with_name("away"))
        yield from frames(self, source)
        if source == films / "22.png":
            later.set()

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "frames", leaving)
        summary = predict([films], model, workers=2, json=out)
    assert (summary.exit_code, summary.read, summary.failed) == (2, 20, 0)
    films.with_name("away").rename(films)
    predict([films], model, resume=True, json=out)
    assert [row["path"] for row in rows(out)] == [str(path) for path in sorted(films.iterdir())]


def test_a_folder_that_is_taken_away_while_others_are_read_is_rows(films, make_bundle, tmp_path):
    model, patient = load_model(make_bundle().path), films / "25"
    patient.mkdir()
    for i in range(3):
        (films / f"0{i}.png").rename(patient / f"{i}.png")

    def take(result, done, total):
        if done == 1:
            patient.rename(tmp_path / "taken")

    summary = predict([films], model, batch_size=1, workers=1, progress=take)
    assert (summary.exit_code, summary.read, summary.problems) == (1, 57, [])
    assert {failure.reason for failure in summary.failures[:3]} == {"missing"}


def test_files_that_are_missing_by_themselves_are_rows_however_many(films, make_bundle, tmp_path):
    """Links that lead nowhere, files that are deleted meanwhile, names of nothing."""
    model, nowhere = load_model(make_bundle().path), films / "nowhere"
    for i in range(25):
        (films / f"a{i:02}.png").symlink_to("none")

    def delete(result, done, total):
        if done == 1:
            for i in range(30, 60):
                (films / f"{i}.png").unlink()

    named = [nowhere / f"{i}.png" for i in range(25)]
    found = [films / "00.png", *named, films]
    out = tmp_path / "r.jsonl"
    summary = predict(found, model, batch_size=2, progress=delete, json=out)
    assert (summary.exit_code, summary.read, summary.failed) == (1, 30, 25 + 25 + 30 + 1)
    assert [row["path"] for row in rows(out)][1:26] == [str(path) for path in named]


@pytest.mark.parametrize("name", ["r.jsonl", "r.json", "r.csv"])
def test_a_draft_that_ends_anywhere_is_gone_on_with(films, make_bundle, tmp_path, name):
    """What a kill or a crash of the machine leaves may end within a record."""
    model = make_bundle()
    predict([films], load_model(model.path), **places(tmp_path / "whole", name))
    whole = (tmp_path / "whole" / name).read_bytes()
    again = tmp_path / "again" / name
    again.parent.mkdir()
    for cut in (0, 1, 50, len(whole) // 3, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        draft_of(again).write_bytes(whole[:cut])
        predict([films], load_model(model.path), resume=True, **places(again.parent, name))
        assert again.read_bytes() == whole
        assert not draft_of(again).exists()
        again.unlink()


def test_a_kill_9_of_the_command_loses_nothing(films, make_bundle, tmp_path):
    model, out, table = make_bundle(), tmp_path / "r.jsonl", tmp_path / "r.csv"
    words = [sys.executable, "-m", "kirik", "predict", films, "--model", model.path]
    words += ["--json", out, "--csv", table]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (draft_of(out).exists() and draft_of(out).read_text().count("\n") > 3):
        assert time.monotonic() < deadline
        if process.poll() is not None:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = subprocess.run([*words, "--resume"], capture_output=True, text=True)
    assert again.returncode == 1, again.stderr
    names = sorted(path.name for path in films.iterdir())
    for place in (out, table):
        assert [os.path.basename(row["path"]) for row in rows(place)] == names  # noqa: PTH119


def test_outputs_that_got_differently_far_are_both_made_whole(films, make_bundle, tmp_path):
    model = make_bundle()
    both = {"json": tmp_path / "r.jsonl", "csv": tmp_path / "r.csv"}
    predict([films], load_model(model.path), **both)
    kept = [path.read_bytes() for path in both.values()]
    for path, keep in zip(both.values(), (2000, 5000), strict=True):
        draft_of(path).write_bytes(path.read_bytes()[:keep])
        path.unlink()
    predict([films], load_model(model.path), resume=True, **both)
    assert [path.read_bytes() for path in both.values()] == kept


def test_new_files_are_added_to_a_list_that_was_finished(films, make_bundle, tmp_path):
    model, out = make_bundle(), tmp_path / "r.jsonl"
    predict([films], load_model(model.path), json=out)
    new = films / "new.png"
    new.write_bytes((films / "03.png").read_bytes())
    seen = []
    predict(
        [films],
        load_model(model.path),
        json=out,
        resume=True,
        progress=lambda result, *_: seen.append(result.path),
    )
    assert seen == [str(new)]
    assert len(rows(out)) == 62


def test_another_models_readings_are_not_gone_on_with(films, make_bundle, tmp_path):
    out = tmp_path / "r.jsonl"
    predict([films], load_model(make_bundle("one").path), json=out)
    with pytest.raises(SettingsError, match="begun with the model one"):
        predict([films], load_model(make_bundle("two").path), json=out, resume=True)
    assert len(rows(out)) == 61


@pytest.mark.parametrize("name", OUTPUTS)
def test_another_model_of_the_same_name_does_not_go_on_with_a_stopped_run(
    films, make_bundle, tmp_path, name
):
    one = make_bundle("one").path.rename(tmp_path / "trained-first")
    two = make_bundle("one", temperature=2.0).path
    draft = draft_of(tmp_path / name)

    def stop(result, done, total):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict([films], load_model(one), progress=stop, **places(tmp_path, name))
    kept = draft.read_bytes()
    with pytest.raises(SettingsError, match="begun with the model one, of another make than this"):
        predict([films], load_model(two), resume=True, **places(tmp_path, name))
    assert draft.read_bytes() == kept
    predict([films], load_model(one), resume=True, **places(tmp_path, name))
    assert len(rows(tmp_path / name)) == 61
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("r.")] == [name]


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_names_with_line_ends_are_gone_on_with(make_bundle, save_radiograph, tmp_path, name):
    names = ("a.png", "b\r.png", "c\n.png", 'd\r",.png', "e.png")
    films = [save_radiograph(one, 0.3 + n / 10) for n, one in enumerate(names)]
    model = load_model(make_bundle().path)
    predict(films[:4], model, **places(tmp_path, name))
    predict(films, model, resume=True, **places(tmp_path, name))
    with (tmp_path / name).open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file)) if name == "r.csv" else [json.loads(r) for r in file]
    assert [row["path"] for row in found] == [str(film) for film in films]


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_a_name_that_is_not_text_is_told_from_one_like_its_escape(
    films, make_bundle, tmp_path, name
):
    """In JSON; in a table both look the same."""
    model, content = load_model(make_bundle().path), (films / "03.png").read_bytes()
    plain, odd = films / "\\udcff.png", films / "\udcff.png"
    for path in (plain, odd):
        path.write_bytes(content)
    predict([odd], model, **places(tmp_path, name))
    predict([odd, films / "04.png"], model, resume=True, **places(tmp_path, name))
    assert len(rows(tmp_path / name)) == 2
    predict([plain, odd], model, resume=True, **places(tmp_path, name))
    if name == "r.jsonl":
        paths = [row["path"] for row in rows(tmp_path / name)]
        assert paths == [str(path) for path in (odd, films / "04.png", plain)]


def test_a_table_of_long_errors_is_gone_on_with(films, make_bundle, tmp_path):
    model, out = load_model(make_bundle().path), tmp_path / "r.csv"
    predict([films / "30b.png"], model, csv=out)
    out.write_text(out.read_text().replace("not an image", "x" * 200_000))
    assert predict([films], model, csv=out, resume=True).before == 1


def test_a_table_with_a_torn_line_is_not_gone_on_with(films, make_bundle, tmp_path):
    (tmp_path / "r.csv").write_bytes(b"path,frame\na\rb,1\n")
    with pytest.raises(SettingsError, match="holds something else than readings"):
        predict([films], load_model(make_bundle().path), resume=True, csv=tmp_path / "r.csv")


@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.csv"])
def test_what_holds_no_readings_is_not_gone_on_with_and_stays(films, make_bundle, tmp_path, name):
    record = '{"path": "a", "decision": "fracture", "model": "m", "frame": %s}'
    contents = ['[\n{"path": "a", "label": 1}\n]\n', record % "[1]", record % "1e999", "[" * 10_000]
    model = load_model(make_bundle().path)
    for foreign in ["name,age\nx,1\n"] if name == "r.csv" else contents:
        (tmp_path / name).write_text(foreign)
        with pytest.raises(SettingsError, match=f"{name}: holds something else than readings"):
            predict([films], model, resume=True, **places(tmp_path, name))
        assert (tmp_path / name).read_text() == foreign
        assert not draft_of(tmp_path / name).exists()


@pytest.mark.parametrize("name", ["r.tsv", "r.CSV", "table"])
def test_a_table_is_gone_on_with_whatever_its_name(films, make_bundle, tmp_path, name):
    model, out = make_bundle(), tmp_path / name
    predict([films], load_model(model.path), csv=out)
    whole = out.read_bytes()
    out.unlink()
    draft_of(out).write_bytes(whole[:5000])
    assert predict([films], load_model(model.path), csv=out, resume=True).before > 10
    assert out.read_bytes() == whole


@pytest.mark.parametrize("name", [*OUTPUTS, "r.pq"])
def test_a_finished_file_is_not_read_for_again(films, make_bundle, tmp_path, name):
    model = load_model(make_bundle().path)
    kind = "parquet" if name == "r.pq" else next(iter(places(tmp_path, name)))
    out = {kind: tmp_path / name}
    predict([films], model, **out)
    whole = (tmp_path / name).read_bytes()
    seen = []
    (films / "new.png").write_bytes((films / "03.png").read_bytes())
    summary = predict(
        [films], model, resume=True, progress=lambda *args: seen.append(args[1:]), **out
    )
    assert seen == [(62, 62)]
    assert (summary.before, summary.read, summary.failed) == (61, 61, 1)
    (films / "new.png").unlink()
    (tmp_path / name).unlink()
    predict([films], model, **out)
    assert (tmp_path / name).read_bytes() == whole


def test_a_finished_parquet_file_keeps_its_rows(films, make_bundle, tmp_path):
    model, out = load_model(make_bundle().path), tmp_path / "r.parquet"
    predict([films], model, parquet=out)
    before = rows(out)
    (films / "new.png").write_bytes((films / "03.png").read_bytes())
    predict([films], model, parquet=out, resume=True)
    assert rows(out)[:-1] == before
    assert rows(out)[-1]["path"] == str(films / "new.png")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["r.parquet"]


def stop(*_, **__):
    """Instead of readings: the run is stopped before the first."""
    raise KeyboardInterrupt
    yield


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("stopped", [False, True])
def test_a_finished_files_last_frames_stay_where_others_are_read(
    films, make_bundle, tmp_path, monkeypatch, name, stopped
):
    model, out, pages = load_model(make_bundle().path), places(tmp_path, name), films / "z.tif"
    page = Image.open(films / "03.png")
    page.save(pages, save_all=True, append_images=[page, page])
    predict([films / "04.png", pages], model, **out)
    if stopped:  # before its first record
        with monkeypatch.context() as patch:
            patch.setattr(type(model), "read_many", stop)
            with pytest.raises(KeyboardInterrupt):
                predict([films / "05.png"], model, resume=True, **out)
    predict([films / "05.png"], model, resume=True, **out)
    read = [(row["path"], int(row.get("frame") or 0)) for row in rows(tmp_path / name)]
    assert read == [
        (str(films / "04.png"), 0),
        *((str(pages), frame) for frame in (1, 2, 3)),
        (str(films / "05.png"), 0),
    ]


@pytest.mark.parametrize("names", [("r.json", "r.jsonl"), ("r.jsonl", "r.json")])
@pytest.mark.parametrize("of", [lambda path: path, draft_of], ids=["finished", "stopped"])
def test_a_list_that_was_renamed_to_lines_or_lines_to_a_list_are_not_gone_on_with(
    films, make_bundle, tmp_path, names, of
):
    model, (first, other) = load_model(make_bundle().path), (tmp_path / name for name in names)
    predict([films / "03.png"], model, json=first)
    kept = first.read_bytes()
    first.rename(of(other))
    with pytest.raises(SettingsError, match="holds something else than readings"):
        predict([films / "04.png"], model, json=other, resume=True)
    assert of(other).read_bytes() == kept


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_disk_that_fills_while_a_finished_file_is_gone_on_with_loses_nothing(
    films, make_bundle, tmp_path, name
):
    model, out = load_model(make_bundle().path), places(tmp_path, name)
    predict([films], model, **out)
    before = rows(tmp_path / name)
    new = films.parent / "new.png"
    new.write_bytes((films / "03.png").read_bytes())
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, most))
        with pytest.raises(OutputError, match="free some space"):
            predict([new], model, resume=True, **out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("r.")] == [name]
    draft_of(tmp_path / name).touch()  # as a kill would leave it
    predict([new], model, resume=True, **out)
    assert rows(tmp_path / name)[:-1] == before
    assert rows(tmp_path / name)[-1]["path"] == str(new)


def test_a_finished_parquet_file_of_other_classes_is_refused(films, make_bundle, tmp_path):
    from pyarrow import parquet

    model, out = load_model(make_bundle().path), tmp_path / "r.parquet"
    predict([films], model, parquet=out)
    table = parquet.read_table(out)
    names = [name.replace("p_fractured", "p_spiral") for name in table.column_names]
    parquet.write_table(table.rename_columns(names), out)
    with pytest.raises(SettingsError, match="has other columns than this model's"):
        predict([films], model, parquet=out, resume=True)


def test_a_parquet_file_of_something_else_is_refused(films, make_bundle, tmp_path):
    import pyarrow
    from pyarrow import parquet

    model, out = load_model(make_bundle().path), tmp_path / "r.parquet"
    for values in (None, [1], [b"\xff\xd8"], [datetime.now(UTC)]):
        out.write_text("text")
        if values:
            parquet.write_table(pyarrow.table({"a": values}), out)
        kept = out.read_bytes()
        with pytest.raises(SettingsError, match="holds something else than readings"):
            predict([films], model, parquet=out, resume=True)
        assert out.read_bytes() == kept
        assert not draft_of(out).exists()


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_stopped_runs_records_are_never_thrown_away(films, make_bundle, tmp_path, name):
    model, out = load_model(make_bundle().path), places(tmp_path, name)
    draft = draft_of(tmp_path / name)

    def stop_at(count):
        def stop(result, done, total):
            if done == count:
                raise KeyboardInterrupt

        return stop

    with pytest.raises(KeyboardInterrupt):
        predict([films], model, progress=stop_at(7), **out)
    kept = draft.read_bytes()
    with pytest.raises(SettingsError) as refused:
        predict([films], model, **out)
    assert str(refused.value) == (
        f"{tmp_path / name}: a stopped run's 7 records stand in {name}.partial; go on with them by "
        "--resume, or delete that file to begin anew"
    )
    assert draft.read_bytes() == kept
    draft.unlink()
    assert predict([films], model, **out).read == 60


def test_a_draft_without_a_record_is_begun_anew(films, make_bundle, tmp_path):
    model, out = load_model(make_bundle().path), tmp_path / "r.csv"
    draft_of(out).write_text("path,frame\n")
    assert predict([films], model, csv=out, json=tmp_path / "r.json").read == 60
    assert not draft_of(out).exists()


def test_a_refusal_to_go_on_leaves_no_draft_of_a_finished_file(films, make_bundle, tmp_path):
    out = tmp_path / "r.jsonl"
    predict([films], load_model(make_bundle("one").path), json=out)
    two = load_model(make_bundle("two").path)
    with pytest.raises(SettingsError, match="begun with the model one"):
        predict([films], two, json=out, resume=True)
    assert predict([films], two, json=out).read == 60


def test_ctrl_c_says_how_to_go_on(films, make_bundle, tmp_path):
    model, out = make_bundle(), tmp_path / "r.jsonl"
    code = f"""
import signal, sys
from kirik.cli import run
from kirik.output import records
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind
written, write = [], records.record
def stopped(result):
    written.append(result)
    if len(written) == 5:
        signal.raise_signal(signal.SIGINT)
    return write(result)
records.record = stopped
sys.exit(run(["predict", {str(films)!r}, "--model", {str(model.path)!r}, "--json", {str(out)!r}]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 130
    assert ended.stderr.splitlines()[-1] == (
        "kirik: stopped; the same command with --resume goes on from here"
    )
    assert draft_of(out).exists()


@pytest.mark.parametrize(
    ("on_the_way_out", "ends_with"),
    [("", 130), ("atexit.register(signal.raise_signal, signal.SIGINT)", -signal.SIGINT)],
)
def test_ctrl_c_while_the_command_is_still_being_imported_and_once_more_says_one_line(
    on_the_way_out, ends_with
):
    code = f"""
import atexit, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind
class Stop:
    def find_spec(self, name, *_):
        if name == "cyclopts":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Stop())
{on_the_way_out}
sys.argv = ["kirik", "models"]
import kirik.__main__
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (ends_with, "", "kirik: stopped\n")


def test_the_table_after_a_resume_counts_what_it_shows(films, make_bundle, tmp_path, capsys):
    model, out = make_bundle(), tmp_path / "r.jsonl"
    words = ["predict", str(films), "--model", str(model.path), "--json", str(out), "--resume"]
    predict([films / "03.png", films / "30b.png"], load_model(model.path), json=out)
    (films / "30b.png").unlink()
    assert run(words) == 1
    assert "not shown" not in capsys.readouterr().out


def test_one_file_is_written_by_one_process_alone(films, make_bundle, tmp_path):
    model, out = load_model(make_bundle().path), tmp_path / "r.jsonl"

    def meddle(result, done, total):
        if done == 3:
            with pytest.raises(OutputError, match="another process is writing it"):
                predict([films], model, json=out)

    predict([films], model, json=out, progress=meddle)
    assert len(rows(out)) == 61


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_a_finished_file_that_is_not_as_kirik_writes_it_is_not_gone_on_with(
    films, make_bundle, tmp_path, kind
):
    model, out = load_model(make_bundle().path), tmp_path / f"r.{kind}"
    predict([films], model, **places(tmp_path, out.name))
    if kind == "csv":
        changes = (out.read_bytes().replace(b"03.png,", b"03.png,,"), out.read_bytes()[:-1])
    else:
        pretty = json.dumps(rows(out), indent=2)
        changes = (pretty.encode(), b'{\n "a": [\n  1\n ]\n}\n', out.read_bytes()[:-20])
    for content in changes:
        out.write_bytes(content)
        with pytest.raises(SettingsError, match="holds something else than readings as kirik"):
            predict([films], model, resume=True, **places(tmp_path, out.name))
        assert out.read_bytes() == content
        assert not draft_of(out).exists()


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("lost", [1, 3])
def test_any_picture_of_a_frame_that_is_missing_is_drawn_again(
    save_radiograph, make_bundle, tmp_path, name, lost
):
    """The second of three frames cannot be read, which is told once."""
    film = Image.open(save_radiograph("film.png", 0.5))
    pages, pictures = tmp_path / "films" / "pages.tif", tmp_path / "pictures"
    pages.parent.mkdir(exist_ok=True)
    film.save(pages, save_all=True, append_images=[Image.new("L", (1, 1)), film])
    sources, model = [pages, save_radiograph("alone.png", 0.5)], load_model(make_bundle().path)
    first = predict(sources, model, overlay=pictures, **places(tmp_path, name))
    drawn = sorted(path.name for path in pictures.iterdir())
    assert (first.failed, drawn) == (
        1,
        ["alone.overlay.png", "pages-1.overlay.png", "pages-3.overlay.png"],
    )
    (pictures / f"pages-{lost}.overlay.png").unlink()
    kept = (pictures / "alone.overlay.png").stat().st_ino
    again = predict(sources, model, overlay=pictures, resume=True, **places(tmp_path, name))
    assert sorted(path.name for path in pictures.iterdir()) == drawn
    assert (pictures / "alone.overlay.png").stat().st_ino == kept
    assert (again.undrawn, again.before, again.failed) == ([], 4, 1)
    assert len(rows(tmp_path / name)) == 4


@pytest.mark.parametrize("name", OUTPUTS)
def test_any_number_of_workers_writes_the_same(films, make_bundle, tmp_path, name):
    model, written = load_model(make_bundle().path), []
    for workers in (1, 2, 5):
        folder = tmp_path / str(workers)
        predict([films], model, workers=workers, **places(folder, name))
        written.append((folder / name).read_bytes())
    assert written[0] == written[1] == written[2]
