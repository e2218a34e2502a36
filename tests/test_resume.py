"""A run that was killed goes on: no file twice, none missing, the same bytes as without a stop."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from kirik.errors import OutputError, SettingsError
from kirik.output.files import draft_of
from kirik.predict import predict
from kirik.reading.classifier import load_model

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


def test_one_file_is_written_by_one_process_alone(films, make_bundle, tmp_path):
    model, out = load_model(make_bundle().path), tmp_path / "r.jsonl"

    def meddle(result, done, total):
        if done == 3:
            with pytest.raises(OutputError, match="another process is writing it"):
                predict([films], model, json=out)

    predict([films], model, json=out, progress=meddle)
    assert len(rows(out)) == 61


@pytest.mark.parametrize("name", OUTPUTS)
def test_any_number_of_workers_writes_the_same(films, make_bundle, tmp_path, name):
    model, written = load_model(make_bundle().path), []
    for workers in (1, 2, 5):
        folder = tmp_path / str(workers)
        predict([films], model, workers=workers, **places(folder, name))
        written.append((folder / name).read_bytes())
    assert written[0] == written[1] == written[2]
