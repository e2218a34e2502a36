import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from kirik.errors import OutputError
from kirik.output.records import csv_writer, json_writer, parquet_writer, record
from kirik.reading.reading import Failure, Reading

CLASSES = ("not_fractured", "fractured")
BINARY = Reading(
    "a/kırık.png",
    "fracture",
    0.91234567,
    {"not_fractured": 0.08765433, "fractured": 0.91234567},
    "wrist 1",
)
SEVERAL = Reading("b.png", "uncertain", 0.5, {"normal": 0.5, "spiral": 0.3, "oblique": 0.2}, "m 2")
TYPES = Reading("c.png", "spiral", None, {"spiral": 0.8, "oblique": 0.2}, "types 1")
FAILED = Failure("d.png", 'd.png: truncated; "copy" it again', "truncated")


def test_a_record_has_what_it_promises_and_nothing_else():
    assert record(BINARY) == {
        "path": "a/kırık.png",
        "decision": "fracture",
        "probability": 0.912346,
        "model": "wrist 1",
    }
    assert record(SEVERAL)["probability"] == {"normal": 0.5, "spiral": 0.3, "oblique": 0.2}
    assert record(TYPES)["probability"] == {"spiral": 0.8, "oblique": 0.2}
    assert record(TYPES)["decision"] == "spiral"
    assert record(FAILED) == {
        "path": "d.png",
        "error": 'd.png: truncated; "copy" it again',
        "reason": "truncated",
    }


def test_what_makes_a_reading_doubtful_is_told_to_programs_too(tmp_path):
    doubtful = replace(BINARY, warnings=("low_resolution", "odd"))
    assert record(doubtful) == record(BINARY) | {"warnings": ["low_resolution", "odd"]}
    with csv_writer(tmp_path / "out.csv", ("not_fractured", "fractured")) as write:
        write(doubtful)
    with (tmp_path / "out.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["warnings"] == "low_resolution odd"


def test_json_is_a_list_in_order(tmp_path):
    path = tmp_path / "new" / "folder" / "out.json"
    with json_writer(path) as write:
        for result in (BINARY, FAILED, SEVERAL):
            write(result)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == [record(BINARY), record(FAILED), record(SEVERAL)]
    assert "kırık" in text
    assert [p.name for p in path.parent.iterdir()] == ["out.json"]


def test_json_of_nothing_is_an_empty_list(tmp_path):
    with json_writer(tmp_path / "out.json"):
        pass
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_json_lines_are_a_record_a_line(tmp_path):
    with json_writer(tmp_path / "out.jsonl") as write:
        write(BINARY)
        write(FAILED)
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [record(BINARY), record(FAILED)]
    with json_writer(tmp_path / "none.jsonl"):
        pass
    assert (tmp_path / "none.jsonl").read_text() == ""


def test_csv_has_a_row_for_each_file_failures_too(tmp_path):
    with csv_writer(tmp_path / "out.csv", ("not_fractured", "fractured")) as write:
        write(BINARY)
        write(FAILED)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first == {
        "path": "a/kırık.png",
        "frame": "",
        "decision": "fracture",
        "probability": "0.912346",
        "p_not_fractured": "0.087654",
        "p_fractured": "0.912346",
        "findings": "0",
        "model": "wrist 1",
        "error": "",
        "reason": "",
        "warnings": "",
    }
    assert (second["path"], second["error"]) == (FAILED.path, FAILED.error)
    assert second["probability"] == second["decision"] == ""


def test_without_a_negative_class_csv_leaves_the_probability_of_a_fracture_empty(tmp_path):
    with csv_writer(tmp_path / "out.csv", ("spiral", "oblique")) as write:
        write(TYPES)
    with (tmp_path / "out.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["probability"], row["p_spiral"]) == ("", "0.800000")


def test_a_name_that_is_not_text_comes_back_from_json_as_it_was(tmp_path):
    odd = b"wrist-\xff.png".decode("utf-8", "surrogateescape")
    with json_writer(tmp_path / "out.json") as write:
        write(Failure(odd, f"{odd}: empty", "empty"))
    assert json.loads((tmp_path / "out.json").read_bytes())[0]["path"] == odd


def test_a_second_writer_that_is_refused_leaves_the_first_its_draft(tmp_path):
    path = tmp_path / "out.json"
    with json_writer(path) as write:
        with pytest.raises(OutputError, match="another process is writing it"):
            json_writer(path).__enter__()
        write(BINARY)
    assert json.loads(path.read_text()) == [record(BINARY)]


def test_nothing_but_a_whole_parquet_file_ever_stands_under_its_name(tmp_path, monkeypatch):
    from pyarrow import parquet

    path, seen = tmp_path / "out.parquet", []
    path.write_bytes(b"PAR1 the old one")
    replace_file = Path.replace

    def watched(own, target):
        replace_file(own, target)
        seen.append(path.read_bytes()[:4])

    monkeypatch.setattr(Path, "replace", watched)
    with parquet_writer(path, CLASSES) as write:
        write(BINARY)
    assert set(seen) == {b"PAR1"}
    assert parquet.read_table(path).num_rows == 1
    assert [one.name for one in tmp_path.iterdir()] == ["out.parquet"]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs another file system")
def test_parquet_is_written_through_a_link_to_another_disk(tmp_path):
    from pyarrow import parquet

    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "link.parquet").symlink_to(Path(other) / "real.parquet")
        with parquet_writer(tmp_path / "link.parquet", CLASSES) as write:
            write(BINARY)
        assert (tmp_path / "link.parquet").is_symlink()
        assert parquet.read_table(Path(other) / "real.parquet").num_rows == 1
        assert [one.name for one in Path(other).iterdir()] == ["real.parquet"]


def test_what_was_read_before_a_stop_is_kept_beside_the_old_file(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    writer = json_writer(path)
    writer.__enter__()(BINARY)
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert path.read_text() == "old"
    assert json.loads((tmp_path / "out.json.partial").read_text()) == [record(BINARY)]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file" / "out.json"):
        for writer in (json_writer(place), csv_writer(place, ("a", "b"))):
            with pytest.raises(OutputError, match=r"cannot be written .*name another place"):
                writer.__enter__()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path):
    """A limit on the size of files stands for the disk's end; the kernel refuses alike."""
    path = tmp_path / "out.json"
    path.write_text("old")
    code = f"""
import resource
from kirik.errors import OutputError
from kirik.output.records import json_writer
from kirik.reading.reading import Failure
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}))
try:
    with json_writer({str(path)!r}) as write:
        for i in range(5000):
            write(Failure(str(i), "error", "reason"))
except OutputError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr == ""
    assert (
        run.stdout == f"{path}: cannot be written (File too large); "
        "free some space, or name another place\n"
    )
    assert path.read_text() == "old"


def test_a_pipe_is_written_to_and_never_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    with json_writer(pipe) as write:
        write(BINARY)
    assert json.loads(reader.communicate()[0]) == [record(BINARY)]
    assert pipe.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    with json_writer(tmp_path / "link.json") as write:
        write(BINARY)
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text()) == [record(BINARY)]


def test_standard_output_is_added_to_even_where_it_is_a_file(tmp_path):
    code = (
        "from kirik.output.records import json_writer\n"
        "from kirik.reading.reading import Failure\n"
        "print('before', flush=True)\n"
        "with json_writer('/dev/stdout') as write: write(Failure('a', 'b', 'c'))\n"
    )
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
        subprocess.run(["echo", "after"], stdout=log, check=True)
    before, text = (tmp_path / "log").read_text().removesuffix("after\n").split("\n", 1)
    assert before == "before"
    assert json.loads(text) == [{"path": "a", "error": "b", "reason": "c"}]
