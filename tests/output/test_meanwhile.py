"""Two runs that write one output at nearly the same time: neither loses what the other wrote."""

import errno
import json
from pathlib import Path

import pytest

from kirik.errors import OutputError
from kirik.output.files import draft_of
from kirik.output.records import begin_anew, json_writer, look_back, reopen
from kirik.predict import predict
from kirik.reading.classifier import load_model
from kirik.reading.reading import Failure

FAILED = Failure("d.png", "d.png: truncated", "truncated")
LATE = "another process has written it meanwhile; run the same command again"


@pytest.fixture
def some(save_radiograph):
    return [save_radiograph(f"{i}.png", 0.2 + i / 10) for i in range(6)]


@pytest.fixture
def model(make_bundle):
    return load_model(make_bundle().path)


def paths(out) -> list[str]:
    if out.suffix == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(out)["path"].to_pylist()
    if out.suffix == ".csv":
        return [line.split(",")[0] for line in out.read_text().splitlines()[1:]]
    return [json.loads(line)["path"] for line in out.read_text().splitlines()]


@pytest.mark.parametrize("before", ["nothing", "stopped", "finished"])
@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.parquet"])
def test_what_another_run_wrote_after_the_look_back_is_never_replaced(
    model, some, tmp_path, monkeypatch, name, before
):
    out = {name.removeprefix("r.").replace("jsonl", "json"): tmp_path / name}
    if before != "nothing":
        predict(some[:4], model, **out)
    if before == "stopped":
        if name == "r.parquet":
            reopen(tmp_path / name, "parquet", look_back(tmp_path / name, "parquet"))
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).rename(draft_of(tmp_path / name))

    def look_and_be_late(path, kind):
        done = look_back(path, kind)
        monkeypatch.undo()
        predict(some, model, resume=True, **out)
        return done

    monkeypatch.setattr("kirik.predict.look_back", look_and_be_late)
    with pytest.raises(OutputError, match=LATE):
        predict(some, model, resume=True, **out)
    assert paths(tmp_path / name) == [str(film) for film in some]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("r.")] == [name]
    assert predict(some, model, resume=True, **out).before == 6


def test_what_another_run_wrote_after_the_reopening_is_never_replaced(
    model, some, tmp_path, monkeypatch
):
    out = tmp_path / "r.jsonl"
    predict(some[:4], model, json=out)

    def reopen_and_be_late(*words):
        reopen(*words)
        monkeypatch.undo()
        predict(some, model, json=out, resume=True)

    monkeypatch.setattr("kirik.predict.reopen", reopen_and_be_late)
    with pytest.raises(OutputError, match=LATE):
        predict(some, model, json=out, resume=True)
    assert len(paths(out)) == 6


def test_a_stopped_run_that_begins_meanwhile_keeps_its_records(model, some, tmp_path, monkeypatch):
    out = tmp_path / "r.jsonl"
    left = json.dumps({"path": "a", "decision": "fracture", "model": "bright"})

    def begin_and_be_late(path, kind):
        done = begin_anew(path, kind)
        draft_of(out).write_text(left)
        return done

    monkeypatch.setattr("kirik.predict.begin_anew", begin_and_be_late)
    with pytest.raises(OutputError, match=LATE):
        predict(some, model, json=out)
    assert draft_of(out).read_text() == left


def test_a_file_that_its_writer_puts_in_place_meanwhile_is_not_touched(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    path, first, flock = tmp_path / "out.json", json_writer(tmp_path / "out.json"), fcntl.flock
    first.__enter__()(FAILED)

    def just_then(file, how):
        monkeypatch.undo()
        first.__exit__(None, None, None)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", just_then)
    with pytest.raises(OutputError, match="another process is writing it"):
        json_writer(path).__enter__()
    assert json.loads(path.read_text()) == [
        {"path": "d.png", "error": FAILED.error, "reason": "truncated"}
    ]
    assert [one.name for one in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_written_without_them(tmp_path, monkeypatch, code):
    fcntl = pytest.importorskip("fcntl")

    def none_here(file, how):
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", none_here)
    with json_writer(tmp_path / "out.json") as write:
        write(FAILED)
    assert json.loads((tmp_path / "out.json").read_text())[0]["path"] == FAILED.path


def test_a_draft_is_its_writers_until_it_is_in_place(tmp_path, monkeypatch):
    path, replace_file, refused = tmp_path / "out.json", Path.replace, []

    def meddled(own, target):
        with pytest.raises(OutputError, match="another process is writing it"):
            json_writer(path).__enter__()
        refused.append(own.name)
        replace_file(own, target)

    monkeypatch.setattr(Path, "replace", meddled)
    with json_writer(path) as write:
        write(FAILED)
    assert refused == ["out.json.partial"]
    assert json.loads(path.read_text()) == [
        {"path": "d.png", "error": FAILED.error, "reason": "truncated"}
    ]
