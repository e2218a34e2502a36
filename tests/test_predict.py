import csv
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from kirik.cli import run
from kirik.errors import KirikError, OutputError, SettingsError
from kirik.output.pictures import overlay_names
from kirik.predict import predict
from kirik.reading import sources
from kirik.reading.classifier import load_model
from kirik.reading.reading import Failure


@pytest.fixture
def classifier(make_bundle):
    return load_model(make_bundle().path)


@pytest.fixture
def folder(save_radiograph):
    """Two radiographs of one name in two folders, and a file that is none."""
    save_radiograph("a/film.png", 0.9, shape=(128, 128))
    save_radiograph("b/film.png", 0.1, shape=(128, 128))
    bad = save_radiograph("b/none.png", 0.5)
    bad.write_text("not pixels")
    return bad.parents[1]


def test_all_outputs_agree_and_name_every_file(classifier, folder, tmp_path):
    out = tmp_path / "out"
    summary = predict(
        [folder], classifier, json=out / "r.json", csv=out / "r.csv", overlay=out / "pictures"
    )
    assert (summary.read, summary.failed, summary.problems) == (2, 1, [])
    assert summary.decisions == {"fracture": 1, "no_fracture": 1}
    assert summary.exit_code == 1
    records = json.loads((out / "r.json").read_text())
    assert [r["path"] for r in records] == [
        str(folder / name) for name in ("a/film.png", "b/film.png", "b/none.png")
    ]
    assert [r.get("decision") for r in records] == ["fracture", "no_fracture", None]
    assert records[0]["probability"] == pytest.approx(
        classifier.read(folder / "a/film.png").probability, abs=1e-6
    )
    assert records[2]["error"] == summary.failures[0].error
    with (out / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [r["path"] for r in records]
    assert float(rows[0]["probability"]) == records[0]["probability"]
    assert len(list((out / "pictures").glob("*.overlay.png"))) == 2


def test_the_exit_code_says_whether_all_some_or_none_was_read(classifier, folder):
    assert predict([folder / "a"], classifier).exit_code == 0
    assert predict([folder], classifier).exit_code == 1
    assert predict([folder / "b" / "none.png"], classifier).exit_code == 2


def test_a_path_that_is_not_there_is_a_failure_and_the_rest_is_read(classifier, folder):
    summary = predict([folder / "nowhere", folder / "a"], classifier)
    assert summary.read == 1
    assert [failure.path for failure in summary.failures] == [str(folder / "nowhere")]


def test_of_many_failures_the_first_are_told_and_all_are_counted_and_written(
    classifier, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("kirik.predict.TOLD", 2)
    gone = [folder / f"gone{number}.png" for number in range(5)]
    summary = predict([*gone, folder / "a"], classifier, json=tmp_path / "r.json")
    assert [failure.path for failure in summary.failures] == [str(path) for path in gone[:2]]
    assert (summary.read, summary.failed, summary.exit_code) == (1, 5, 1)
    records = json.loads((tmp_path / "r.json").read_text())
    assert sum("error" in record for record in records) == 5
    words = ["predict", *map(str, gone), str(folder / "a"), "--model", str(classifier.bundle.path)]
    capsys.readouterr()
    assert run(words) == 1
    told = capsys.readouterr().err
    assert "gone1.png" in told
    assert "gone2.png" not in told
    assert "and 3 more, not shown" in told


def test_a_folder_without_radiographs_is_told_in_one_line(classifier, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(KirikError, match="no radiographs in there"):
        predict([empty], classifier, json=tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()


def test_a_file_that_is_met_twice_is_read_once(classifier, folder, tmp_path, monkeypatch):
    out, film, again = tmp_path / "r.jsonl", Path("a/film.png"), folder / "a" / ".." / "a"
    monkeypatch.chdir(folder)
    summary = predict([Path("a"), film, folder / film, "none", "none"], classifier, json=out)
    assert (summary.read, summary.failed) == (1, 1)
    assert [json.loads(line)["path"] for line in out.read_text().splitlines()] == [
        "a/film.png",
        "none",
    ]
    # Where `..` leads, only the file system knows.
    assert predict([film, again / "film.png"], classifier).read == 2


def test_progress_counts_every_file_to_the_total(classifier, folder):
    seen = []
    predict(
        [folder],
        classifier,
        progress=lambda result, done, total: seen.append((type(result), done, total)),
    )
    assert [entry[1:] for entry in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[2][0] is Failure


def test_progress_counts_a_file_of_several_frames_once(classifier, folder, tmp_path):
    films = [Image.open(folder / name) for name in ("a/film.png", "b/film.png")]
    films[0].save(folder / "a" / "pages.tif", save_all=True, append_images=films[1:])
    seen = []
    predict([folder / "a"], classifier, progress=lambda *args: seen.append(args[1:]))
    assert seen == [(1, 2), (2, 2), (2, 2)]
    out = tmp_path / "r.jsonl"
    predict([folder / "a"], classifier, json=out)
    predict(
        [folder], classifier, json=out, resume=True, progress=lambda *args: seen.append(args[1:])
    )
    assert seen[-1] == (4, 4)


@pytest.mark.parametrize("count", [True, False])
def test_many_files_are_counted_only_where_somebody_looks(classifier, folder, monkeypatch, count):
    """What the counting meets, the reading does, too, and tells."""
    listings, broken, find = [], [], sources.find_sources

    def counted(*asked):
        listings.append(asked)
        if len(listings) > 1:
            raise KirikError("no decoder starts")
        return find(*asked)

    monkeypatch.setattr(sources, "KNOWN", 1)
    monkeypatch.setattr(sources, "find_sources", counted)
    monkeypatch.setattr("threading.excepthook", broken.append)
    seen = []
    predict([folder], classifier, progress=lambda *args: seen.append(args[1:]), count=count)
    for thread in threading.enumerate():
        if thread.name == "kirik-count":
            thread.join()
    assert seen == [(1, None), (2, None), (3, None)]
    assert (len(listings), broken) == (1 + count, [])


def test_pictures_in_the_place_of_a_file_are_refused_in_fitting_words(classifier, folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as refused:
        predict([folder], classifier, overlay=tmp_path / "file")
    why = "cannot be written (there is a file where a folder is needed); name another place"
    assert str(refused.value) == f"{tmp_path / 'file'}: {why}"


def test_an_output_that_cannot_be_begun_is_refused_before_any_reading(classifier, folder, tmp_path):
    (tmp_path / "file").write_text("x")
    seen = []
    with pytest.raises(OutputError):
        predict(
            [folder],
            classifier,
            json=tmp_path / "r.json",
            csv=tmp_path / "file" / "r.csv",
            progress=lambda *args: seen.append(args),
        )
    assert seen == []
    assert not (tmp_path / "r.json").exists()
    with pytest.raises(SettingsError, match="language"):
        predict([folder], classifier, overlay=tmp_path / "o", language="xx")


def test_a_picture_that_cannot_be_drawn_or_written_costs_no_other(
    classifier, save_radiograph, tmp_path
):
    """Folders in both places that the picture may have stand for a disk that refuses it. The other
    film is far enough behind the first not to be drawn yet when that is done."""
    films = [save_radiograph(f"{i}.png", 0.5) for i in range(12)]
    pictures = tmp_path / "pictures"
    apart = overlay_names([films[0], "elsewhere/0.png"])[str(films[0])]
    for name in ("0.overlay.png", apart):
        (pictures / name).mkdir(parents=True)

    def move(result, done, total):
        films[11].unlink(missing_ok=True)

    summary = predict(films, classifier, json=tmp_path / "r.json", overlay=pictures, progress=move)
    assert (summary.read, summary.failed, summary.problems) == (12, 0, [])
    assert [one.path for one in summary.undrawn] == [str(films[0]), str(films[11])]
    assert f"{apart}: cannot be written (Is a directory)" in summary.undrawn[0].error
    assert "11.png: no such file" in summary.undrawn[1].error
    assert (pictures / "2.overlay.png").is_file()
    assert summary.exit_code == 1
    assert len(json.loads((tmp_path / "r.json").read_text())) == 12


def test_of_many_pictures_that_cannot_be_drawn_the_first_are_told(
    classifier, save_radiograph, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("kirik.predict.TOLD", 2)
    films = [save_radiograph(f"{i}.png", 0.5) for i in range(5)]
    for film in films:
        apart = overlay_names([film, f"a/{film.name}"])[str(film)]
        for name in (f"{film.stem}.overlay.png", apart):
            (tmp_path / "pictures" / name).mkdir(parents=True)
    words = ["predict", *map(str, films), "--model", str(classifier.bundle.path)]
    assert run([*words, "--overlay", str(tmp_path / "pictures")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": has a reading")[0] for line in told] == [
        f"kirik: {films[0]}",
        f"kirik: {films[1]}",
        "and 3 more, not shown",
    ]


@pytest.mark.parametrize("resume", [False, True])
def test_a_picture_takes_no_other_files_place_in_a_later_run(
    classifier, save_radiograph, tmp_path, resume
):
    films = [
        save_radiograph(f"{folder}/1.png", level) for folder, level in (("a", 0.2), ("b", 0.9))
    ]
    pictures, wanted = tmp_path / "pictures", {"overlay": tmp_path / "pictures", "resume": resume}

    def read(film: Path) -> set[str]:
        """The names of the pictures that were not there before, or are others now."""
        before = {path: path.stat().st_ino for path in pictures.glob("*")}
        predict([film], classifier, json=tmp_path / "r.jsonl", **wanted)
        after = {path: path.stat().st_ino for path in pictures.iterdir()}
        return {path.name for path, node in after.items() if before.get(path) != node}

    assert read(films[0]) == {"1.overlay.png"}
    drawn = (pictures / "1.overlay.png").read_bytes()
    [apart] = read(films[1])
    assert apart == overlay_names(films)[str(films[1])]
    assert (pictures / "1.overlay.png").read_bytes() == drawn
    assert (pictures / apart).read_bytes() != drawn
    # The same names again.
    assert [read(film) for film in films] == (
        [set()] * 2 if resume else [{"1.overlay.png"}, {apart}]
    )
    assert str(films[0]).encode() not in drawn
    # A picture that one may have drawn oneself is as another's.
    (pictures / "1.overlay.png").write_bytes(films[0].read_bytes())
    assert read(films[0]) == {overlay_names(films)[str(films[0])]}
    assert (pictures / "1.overlay.png").read_bytes() == films[0].read_bytes()


@pytest.mark.parametrize("known", [True, False])
def test_names_too_long_for_a_picture_are_cut_short_and_stay_apart(
    classifier, save_radiograph, tmp_path, known, monkeypatch
):
    if not known:
        monkeypatch.setattr("kirik.reading.sources.KNOWN", 1)
    for name in ("ş" * 120 + "1", "ş" * 120 + "2", "a" * 228, "b" * 245):
        save_radiograph(f"{name}.png", 0.5)
    folder, pictures = save_radiograph("c.png", 0.5).parent, tmp_path / "pictures"
    summary = predict([folder], classifier, overlay=pictures)
    assert (summary.exit_code, summary.undrawn) == (0, [])
    names = [path.name for path in pictures.iterdir()]
    assert len(names) == 5
    assert all(name.endswith(".overlay.png") for name in names)
    assert ("a" * 228 + ".overlay.png" in names) == known


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("kind", ["json", "csv"])
def test_an_output_never_takes_a_radiographs_place(classifier, folder, kind, resume):
    film = folder / "a/film.png"
    before = film.read_bytes()
    with pytest.raises(SettingsError, match=r"film\.png: is a PNG file, .*name another file"):
        predict([folder], classifier, resume=resume, **{kind: film})
    assert film.read_bytes() == before


def test_pictures_in_a_folder_that_is_read_are_no_radiographs(classifier, folder, tmp_path):
    out = tmp_path / "r.jsonl"
    for again in range(2):
        summary = predict([folder], classifier, json=out, overlay=folder / "pictures")
        assert len(list((folder / "pictures").iterdir())) == summary.read
        paths = [json.loads(line)["path"] for line in out.read_text().splitlines()]
        assert not any("/pictures/" in path for path in paths), again
    named = predict([next((folder / "pictures").iterdir())], classifier, json=out)
    assert named.read == 1


def test_pictures_of_an_earlier_run_are_no_radiographs_unless_they_are_named(
    classifier, folder, tmp_path
):
    predict([folder], classifier, overlay=folder / "pictures")
    drawn = sorted((folder / "pictures").iterdir())
    (folder / "own.overlay.png").write_bytes((folder / "a/film.png").read_bytes())
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for path in [*drawn, folder / "own.overlay.png"]:
            archive.write(path, path.name)
    out = tmp_path / "r.jsonl"
    predict([folder], classifier, json=out)
    names = ["a/film.png", "all.zip/own.overlay.png", "b/film.png", "b/none.png", "own.overlay.png"]
    paths = [json.loads(line)["path"] for line in out.read_text().splitlines()]
    assert paths == [str(folder / name) for name in names]
    assert predict(drawn, classifier).read == 2


def test_one_file_for_two_outputs_is_refused(classifier, folder, tmp_path):
    with pytest.raises(SettingsError, match="named for two outputs"):
        predict([folder], classifier, json=tmp_path / "r.json", csv=tmp_path / "r.json")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("r.json")] == []


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_readings_on_standard_output_have_no_table_among_them(make_bundle, folder, option):
    words = [sys.executable, "-m", "kirik", "predict", folder / "a", "--model", make_bundle().path]
    run = subprocess.run([*words, option, "/dev/stdout"], capture_output=True, text=True)
    if option == "--json":
        assert [row["decision"] for row in json.loads(run.stdout)] == ["fracture"]
    else:
        assert [row["decision"] for row in csv.DictReader(run.stdout.splitlines())] == ["fracture"]
    plain = subprocess.run([*words, option, folder / "out"], capture_output=True, text=True)
    assert "film.png" in plain.stdout


@pytest.mark.parametrize(
    ("letters", "said"),
    [
        *((one, {"PYTHONIOENCODING": one}) for one in ("ascii", "iso8859-9", "cp1254")),
        ("ascii", {"LC_ALL": "C"}),
    ],
)
def test_a_table_in_letters_that_lack_its_marks(make_bundle, folder, letters, said):
    words = [sys.executable, "-m", "kirik", "predict", folder / "a", "--model", make_bundle().path]
    told = {**os.environ, **said, "PYTHONUTF8": "0"}
    run = subprocess.run(words, capture_output=True, env=told)
    assert run.returncode == 0, run.stderr
    assert "? fracture" in run.stdout.decode(letters)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_early_changes_no_exit_code(make_bundle, folder, unbuffered):
    model = make_bundle().path

    def code(*paths, **streams) -> int:
        gone, end = os.pipe()
        os.close(gone)
        words = [sys.executable, "-m", "kirik", "predict", *paths, "--model", model]
        told = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        run = subprocess.run(words, env=told, stdout=end, **streams or {"stderr": subprocess.PIPE})
        os.close(end)
        assert b"Error" not in (run.stderr or b"")
        return run.returncode

    assert (code(folder / "a"), code(folder)) == (0, 1)
    assert code(folder / "none", stderr=subprocess.STDOUT) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_under_the_terminals_words(make_bundle, folder):
    words = [sys.executable, "-m", "kirik", "predict", folder, "--model", make_bundle().path]
    with Path("/dev/full").open("w") as full:
        table = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
        problems = subprocess.run(words, stdout=subprocess.PIPE, stderr=full, text=True)
    assert table.returncode == 2
    assert table.stderr.strip() == "kirik: the disk is full; free some space and try again"
    assert problems.returncode == 1
    assert "film.png" in problems.stdout


def test_a_disk_that_fills_up_costs_that_output_and_nothing_else(make_bundle, folder, tmp_path):
    (folder / "many").mkdir()
    for i in range(300):
        (folder / "many" / f"{i}.png").symlink_to(folder / "a/film.png")
    code = f"""
import resource
from kirik.predict import predict
from kirik.reading.classifier import load_model
classifier = load_model({str(make_bundle().path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
files = [{str(folder / "many")!r}]
summary = predict(files, classifier, json={str(tmp_path / "r.json")!r}, csv="/dev/null")
print(summary.read, summary.exit_code, summary.problems)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr == ""
    said = f"['{tmp_path / 'r.json'}: cannot be written (File too large); "
    assert run.stdout.startswith(f"300 2 {said}")
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("option", ["--json", "--csv", "--parquet"])
def test_where_the_last_output_has_broken_nothing_more_is_read(
    make_bundle, folder, tmp_path, option
):
    (folder / "many").mkdir()
    for i in range(400):
        (folder / "many" / f"{i:03}.png").symlink_to(folder / "a/film.png")
    out = tmp_path / "r.jsonl"
    code = f"""
import resource, sys
from kirik.cli import run
from kirik.reading.classifier import Classifier
begun, read = [], Classifier.frames
Classifier.frames = lambda self, source: begun.append(source) or read(self, source)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
words = ["predict", {str(folder / "many")!r}, "--model", {str(make_bundle().path)!r}]
code = run([*words, {option!r}, {str(out)!r}])
print(len(begun))
sys.exit(code)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 2
    assert int(ended.stdout.splitlines()[-1]) < 200
    assert [line for line in ended.stderr.splitlines() if line] == [
        f"kirik: {out}: cannot be written (File too large); free some space, or name another place",
        "kirik: the same command with --resume goes on from here",
    ]
    words = ["predict", str(folder / "many"), "--model", str(tmp_path / "bundles" / "bright")]
    assert run([*words, option, str(out), "--resume"]) == 0


def test_a_broken_output_is_told_at_once_and_the_others_go_on(classifier, folder, tmp_path):
    events = []
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def seen(result, done, total):
        events.append(done)
        if done == 1:
            os.close(reader)

    summary = predict(
        [folder],
        classifier,
        json=pipe,
        csv=tmp_path / "r.csv",
        progress=seen,
        on_problem=events.append,
    )
    problem = f"{pipe}: cannot be written (Broken pipe); name another place"
    assert events == [1, problem, 2, 3]
    assert summary.problems == [problem]
    assert summary.exit_code == 2
    assert (tmp_path / "r.csv").read_text().count("\n") == 4


@pytest.mark.parametrize("given", [2.5, "2", 0, float("nan")])
def test_numbers_that_count_nothing_are_refused(classifier, folder, tmp_path, given):
    for name, said in (("batch_size", "batch size"), ("workers", "workers")):
        with pytest.raises(SettingsError, match=f"{said} {given}: it must be a whole number"):
            classifier.read_many([folder / "a/film.png"], **{name: given})
        with pytest.raises(SettingsError, match=f"{said} {given}: it must be a whole number"):
            predict([folder], classifier, json=tmp_path / "r.json", **{name: given})
    assert not list(tmp_path.glob("r.*"))


@pytest.mark.parametrize("kind", ["json", "csv", "parquet", "overlay"])
def test_a_store_is_no_folder_of_this_machine(
    classifier, make_bundle, folder, tmp_path, monkeypatch, capsys, kind
):
    monkeypatch.chdir(tmp_path)
    place, why = "s3://b/r", "s3://b/r: a store is read and written with --cluster ray"
    words = ["predict", str(folder), "--model", str(tmp_path / "bundles" / "bright")]
    assert run([*words, f"--{kind}", place]) == 2
    assert why in capsys.readouterr().err
    with pytest.raises(SettingsError, match=why):
        predict([folder], classifier, **{kind: place})
    with pytest.raises(SettingsError, match=why):
        predict([place], classifier, **{kind: tmp_path / "r"})
    assert not list(tmp_path.glob("[rs]*"))


def test_an_empty_place_is_refused(make_bundle, folder, capsys):
    words = ["predict", str(folder), "--model", str(make_bundle().path)]
    assert run([*words, "--csv", ""]) == 2
    assert "empty path" in capsys.readouterr().err


NAMES = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def command(make_bundle, folder, *options) -> list[str]:
    words = [sys.executable, "-m", "kirik", "predict", folder / "a"]
    return [*map(str, [*words, "--model", make_bundle().path, *options])]


@pytest.mark.parametrize("other", [*NAMES, "link", "itself", "/dev/stderr"])
@pytest.mark.parametrize("into_file", [False, True])
def test_two_outputs_are_not_written_to_one_stream(make_bundle, folder, tmp_path, other, into_file):
    out, link = tmp_path / "out", tmp_path / "link"
    link.symlink_to("/dev/stdout")
    other = {"link": link, "itself": out if into_file else "/dev/stdout"}.get(other, other)
    words = command(make_bundle, folder, "--json", "/dev/stdout", "--csv", other)
    with out.open("wb") as file:
        to = file if into_file else subprocess.PIPE
        ended = subprocess.run(words, stdout=to, stderr=subprocess.STDOUT, text=True)
    said = out.read_text() if into_file else ended.stdout
    assert ended.returncode == 2
    assert said.strip() == f"kirik: {other}: named for two outputs; give each a file of its own"


def test_what_is_thrown_away_may_be_so_twice(classifier, folder):
    assert predict([folder / "a"], classifier, json="/dev/null", csv="/dev/null").exit_code == 0


@pytest.mark.parametrize("name", NAMES)
def test_standard_output_by_any_name_is_added_to_where_it_is_a_file(
    make_bundle, folder, tmp_path, name
):
    out = tmp_path / "r.json"
    with out.open("wb") as file:
        subprocess.run(command(make_bundle, folder, "--json", name), stdout=file, check=True)
        file.write(b"after")
    assert len(json.loads(out.read_text().removesuffix("after"))) == 1
    assert [path.name for path in tmp_path.glob("r.*")] == ["r.json"]


def test_a_stop_keeps_what_was_read_beside(classifier, folder, tmp_path):
    def stop(result, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict([folder], classifier, json=tmp_path / "r.json", progress=stop)
    assert not (tmp_path / "r.json").exists()
    assert len(json.loads((tmp_path / "r.json.partial").read_text())) == 1
