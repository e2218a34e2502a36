"""What a person sees who gives kirik something wrong: one line, exit code 2, no traceback."""

import csv
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kirik.cli import main, run
from kirik.dataset.split import load_split
from one_thread import one_thread  # noqa: F401 (a fixture)
from quick_export import quick_export  # noqa: F401 (a fixture)


@pytest.fixture
def refused(capsys):
    """Runs a command that must be refused; returns the one line that it says."""

    def call(*words, code=2) -> str:
        assert run([str(word) for word in words]) == code
        said = capsys.readouterr().err
        assert "Traceback" not in said
        lines = [line for line in said.splitlines() if line.strip()]
        assert len(lines) == 1, said
        return lines[0]

    return call


@pytest.fixture
def tiny_set(tmp_path) -> Path:
    """A data set of two classes with twenty pictures of noise each."""
    noise = np.random.default_rng(0)
    for label in ("normal", "fractured"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(20):
            pixels = noise.integers(0, 256, (40, 40 + i), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{label}{i}.png")
    return tmp_path / "set"


@pytest.fixture
def tiny_split(tiny_set, tmp_path) -> Path:
    file = tmp_path / "split.csv"
    with file.open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["image_id", "group", "split", "fold", "excluded_because"])
        for i, path in enumerate(sorted(tiny_set.glob("*/*.png"))):
            name = path.relative_to(tiny_set).as_posix()
            table.writerow([name, f"g{i}", "dev", i % 2 + 1, ""])
    return file


def test_a_seed_below_zero_by_its_option(refused, tiny_set, tmp_path):
    for words in (
        ("compare", tmp_path, tmp_path),
        ("evaluate", "m", tiny_set, "--split", "s", "--part", "test", "--out", tmp_path / "x"),
        ("study", tmp_path),
        ("data", "split", tiny_set, "--out", tmp_path / "s.csv"),
        ("data", "phantoms", tmp_path / "p"),
        ("data", "augment-preview", tiny_set, "--out", tmp_path / "a.png"),
    ):
        assert "--seed" in refused(*words, "--seed", -1)
    assert not list(tmp_path.glob("*.csv"))


def test_an_unknown_network_with_the_nearest_names(refused, tiny_set, tiny_split, tmp_path):
    words = ["--split", tiny_split, "--network", "mobilnet", "--out", tmp_path / "run"]
    assert "unknown network 'mobilnet'; nearest: mobilenet" in refused("train", tiny_set, *words)
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_with_the_nearest_one(refused, tiny_set):
    assert "Did you mean --epochs" in refused("train", tiny_set, "--epoch", 3)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--epochs", 0, "--epochs: must be 1 or more, not '0'"),
        ("--size", 100, "--size: must be a multiple of 32, not '100'"),
        ("--balance", "smote", "smote"),
        ("--learning-rate", "fast", "fast"),
    ],
)
def test_a_setting_out_of_range_is_named(refused, tiny_set, option, value, said):
    assert said in refused("train", tiny_set, option, value)


def test_a_wrong_settings_file_is_named(refused, tiny_set, tiny_split, tmp_path):
    file = tmp_path / "s.toml"
    words = ["train", tiny_set, "--split", tiny_split, "--settings", file]
    assert refused(*words).endswith(f"{file}: no such file")
    for content, said in (
        ("netwrok = 'vit'", "unknown setting 'netwrok'; did you mean network?"),
        ("xyzzy = 3", "unknown setting 'xyzzy'; known: network, weights, freeze"),
        ("epochs = 0", "epochs: must be 1 or more, not 0"),
        ("epochs = 'many'", "epochs: must be a whole number, not 'many'"),
        ("dropout = 1", "dropout: must be less than 1.0, not 1"),
        ("masks = 'often'", "masks: must be true or false, not 'often'"),
        ("network = 3", "network: must be text, not 3"),
        ("precision = 'int8'", "precision: must be 'auto', 'float32' or 'bfloat16', not 'int8'"),
    ):
        file.write_text(content)
        assert f"{file}: {said}" in refused(*words)
    file.write_text("epochs = \n")
    assert f"{file}: not a readable TOML file" in refused(*words)
    assert "is a folder; name a TOML file" in refused(*words[:-1], tmp_path)


def test_no_gpu(refused, tiny_set, tiny_split, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    words = ["--split", tiny_split, "--device", "cuda", "--out", tmp_path / "run"]
    assert "no GPU is available" in refused("train", tiny_set, *words)


def test_weights_that_the_hub_cannot_give(refused, tiny_set, tiny_split, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["--split", tiny_split, "--network", "resnet18", "--size", 64, "--out", tmp_path / "r"]
    said = refused("train", tiny_set, *words, "--batch-size", 4)
    assert "resnet18's starting weights from the hub" in said
    assert "--weights none" in said


def test_a_data_set_with_one_class(refused, tiny_set):
    shutil.rmtree(tiny_set / "normal")
    assert str(tiny_set) in refused("data", "audit", tiny_set)


def test_a_csv_with_unknown_columns(refused, tmp_path):
    (tmp_path / "d.csv").write_text("path,lable\na.png,normal\n")
    said = refused("data", "audit", tmp_path / "d.csv")
    assert "lable" in said
    assert "label" in said.replace("lable", "")


def test_a_folder_that_is_no_data_set(refused, tmp_path):
    assert "expected FracAtlas" in refused("data", "audit", tmp_path)


def test_a_part_and_a_fold_that_the_split_does_not_have(refused, tiny_set, tiny_split, tmp_path):
    words = ["--split", tiny_split, "--fold", 9, "--weights", "none", "--out", tmp_path / "run"]
    assert "no part 'train9'; it has dev, test, all, fold1" in refused("train", tiny_set, *words)


def test_radiographs_that_the_part_needs_and_that_are_absent(refused, tiny_set, tiny_split):
    names = sorted(path for path in tiny_set.glob("*/*.png"))
    names[0].unlink()  # of fold 1, on which training without fold 2 needs
    words = ["--split", tiny_split, "--fold", 2, "--weights", "none"]
    assert "1 of 20 radiographs of part train2" in refused("train", tiny_set, *words)


def test_a_run_that_exists_is_not_overwritten(refused, tiny_set, tiny_split, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    words = ["--split", tiny_split, "--fold", 1, "--weights", "none", "--out", tmp_path / "run"]
    words += ["--network", "test_efficientnet", "--size", 64, "--batch-size", 4]
    said = refused("train", tiny_set, *words)
    assert f"{tmp_path / 'run'}: already exists; go on with --resume" in said


def test_a_resume_of_what_is_no_run(refused, tmp_path):
    assert "not a training run" in refused("train", "--resume", tmp_path)
    (tmp_path / "run.json").write_text('{"settings": {}}')
    assert "not a training run of this kirik" in refused("train", "--resume", tmp_path)


def test_a_resumed_run_takes_no_other_settings(refused, tmp_path):
    said = refused("train", "--resume", tmp_path, "--epochs", 9)
    assert "keeps its own settings" in said


def test_a_run_that_failed_early_leaves_its_name_free(refused, tiny_set, tiny_split, tmp_path):
    words = ["--split", tiny_split, "--fold", 1, "--network", "test_efficientnet", "--size", 64]
    words += ["--batch-size", 4, "--epochs", 1, "--out", tmp_path / "run", "--device", "cpu"]
    assert "no such starting weights" in refused("train", tiny_set, *words, "--weights", "no.st")
    (tmp_path / "run").mkdir()  # and so does one that was killed before its run.json was there
    (tmp_path / "run" / "settings.toml").write_text('network = "xception"\n')
    assert "already exists" in refused("train", tiny_set, *words, "--weights", "none")
    (tmp_path / "run" / "settings.toml").write_text('network = "test_eff')
    (tmp_path / "run" / "run.partial").write_text("{")
    assert run(["train", str(tiny_set), *map(str, words), "--weights", "none"]) == 0


@pytest.fixture
def finished(tmp_path, tiny_split):
    """Makes the record of a run: all of one that is looked at before its weights."""

    def make(name, fold=1, split=None, labels=None, **settings) -> Path:
        place, table = tmp_path / name, split or tiny_split.read_text()
        (place / "bundle").mkdir(parents=True)
        (place / "split.csv").write_text(table)
        said = {"weights": "none", "validation": 0.1, "seed": 0} | settings
        digest = load_split(place / "split.csv").digest
        facts = {"fold": fold, "split": "split", "split_sha256": digest, "settings": said}
        facts |= {"labels_sha256": labels} if labels else {}
        (place / "run.json").write_text(json.dumps(facts))
        return place

    return make


def test_a_finished_bundle_stays_where_its_run_cannot_go_on(refused, tmp_path, finished):
    done = finished("done")  # but for its report, as a fold of a cross-validation
    (done / "bundle" / "model.onnx").write_text("kept")
    facts = json.loads((done / "run.json").read_text()) | {"data": str(tmp_path / "gone")}
    (done / "run.json").write_text(json.dumps(facts))
    assert "gone" in refused("train", "--resume", done)
    assert (done / "bundle" / "model.onnx").read_text() == "kept"


KNOWN = "trained on radiographs of which --validation 0.1 holds some out to choose with"
LACKING = "its weights do not fit"  # what is told of such a record when all else is well


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"validation": 0}, (), KNOWN),
        ({"validation": 0.2}, (), KNOWN),
        ({"seed": 1}, (), KNOWN),
        ({}, ("--seed", 1), KNOWN),
        ({}, (), LACKING),
        ({"validation": 0.2, "seed": 1}, ("--validation", 0.2, "--seed", 1), LACKING),
        ({"validation": 0}, ("--validation", 0), LACKING),
    ],
)
@pytest.mark.parametrize("option", ["--weights", "--teacher"])
def test_what_a_run_that_is_built_on_knows_does_not_choose(
    refused, tiny_set, tiny_split, tmp_path, finished, option, before, now, told
):
    words = ["--split", tiny_split, "--fold", 1, "--network", "test_efficientnet", "--size", 64]
    words += ["--batch-size", 4, "--out", tmp_path / "run", "--device", "cpu", *now]
    words += ["--weights", "none"] if option == "--teacher" else []
    run = finished("before", **before)
    said = refused("train", tiny_set, *words, option, run)
    assert said.startswith(f"kirik: {run}")
    assert (told if option == "--weights" or told == KNOWN else "not a bundle") in said
    assert told != KNOWN or f"begin with --validation 0, or for {option} take a run that" in said
    assert not (tmp_path / "run").exists()


def test_nor_does_what_runs_before_it_knew_or_of_another_part(
    refused, tiny_set, tiny_split, tmp_path, finished
):
    words = ["--split", tiny_split, "--network", "test_efficientnet", "--size", 64]
    words += ["--batch-size", 4, "--out", tmp_path / "run", "--device", "cpu", "--weights"]
    table = tiny_split.read_text()
    first = finished("first", validation=0)
    between = finished("between", weights=str(first), teacher=str(tmp_path / "gone"))
    (tmp_path / "gone").symlink_to(between)  # as a name that was given anew: no end of them
    said = refused("train", tiny_set, "--fold", 1, *words, finished("last", teacher=str(between)))
    assert f"last: builds on {first}, which was {KNOWN}" in said
    # Of all of dev, another tenth is held out; groups decide, too; another data set's are unknown.
    assert KNOWN in refused("train", tiny_set, *words, finished("fold"))
    together = table.replace(",g1,", ",g3,")
    assert KNOWN in refused("train", tiny_set, *words, finished("groups", None, together))
    elsewhere = finished("elsewhere", None, table.replace("/", "/other-"), validation=0)
    assert LACKING in refused("train", tiny_set, *words, elsewhere)
    assert LACKING in refused("train", tiny_set, "--fold", 1, *words, elsewhere)
    corrected = finished("corrected", None, labels="others")
    assert KNOWN in refused("train", tiny_set, *words, corrected)
    assert LACKING in refused("train", tiny_set, *words, finished("same", None))


def test_a_teacher_that_could_read_others_held_out_others(
    refused, tiny_set, tiny_split, tmp_path, capsys
):
    """Which radiographs can be read decides who is held out, and is known once they are decoded."""
    words = ["--split", str(tiny_split), "--fold", "1", "--network", "test_efficientnet"]
    words += ["--size", "64", "--batch-size", "4", "--device", "cpu", "--epochs", "1"]
    words += ["--weights", "none", "--validation", "0.3"]
    first = tmp_path / "first"
    assert run(["train", str(tiny_set), *words, "--out", str(first)]) == 0
    said = json.loads((first / "run.json").read_text())
    (first / "run.json").write_text(json.dumps(said | {"held_out_sha256": "of others"}))
    capsys.readouterr()
    told = refused("train", tiny_set, *words, "--teacher", first, "--out", tmp_path / "second")
    assert "holds some out to choose with" in told
    assert "with the same radiographs unreadable" in told
    assert not (tmp_path / "second").exists()
    shutil.rmtree(first / "bundle")
    assert "its groups, or what its classes mean, has changed" in refused(
        "train", "--resume", first
    )


def test_nor_may_what_it_builds_on_have_learned_from_the_test_part(
    refused, tiny_set, tiny_split, tmp_path, finished
):
    table = tiny_split.read_text()
    elsewhere = table.replace("/", "/other-")
    tested = re.sub(r",dev,[12],", ",test,,", table, count=2)
    first = finished("first", None, table, validation=0)
    between = finished("between", None, elsewhere, validation=0, weights=str(first))
    split = tmp_path / "tested.csv"
    split.write_text(tested)
    words = ["--split", split, "--network", "test_efficientnet", "--size", 64, "--device", "cpu"]
    said = refused("train", tiny_set, *words, "--out", tmp_path / "run", "--weights", between)
    assert f"{between}: builds on {first}, which was trained on radiographs of this split's" in said


def test_nor_from_copies_of_what_it_is_measured_on_under_other_names(
    refused, tiny_set, tiny_split, tmp_path, finished
):
    measured = [a.image_id for a in load_split(tiny_split).part("fold1")]
    digest = hashlib.sha256((tiny_set / measured[0]).read_bytes()).hexdigest()
    elsewhere = tiny_split.read_text().replace("/", "/other-")
    first = finished("first", None, elsewhere, validation=0)
    (first / "trained-on.txt").write_text(f"{'0' * 64}\n{digest}\n")
    words = ["--split", tiny_split, "--network", "test_efficientnet", "--size", 64, "--fold", 1]
    words += ["--weights", "none", "--device", "cpu", "--out", tmp_path / "run", "--teacher"]
    told = f"{first}: was trained on copies of this split's fold 1 or test part ({measured[0]}, 1"
    assert told in refused("train", tiny_set, *words, first)
    between = finished("between", None, elsewhere, validation=0, weights=str(first))
    told = f"{between}: builds on {first}, which was trained on copies"
    assert told in refused("train", tiny_set, *words, between)


def test_of_a_folder_without_the_fold_only_another_split_s_run_may_be_built_on(
    refused, tiny_set, tiny_split, tmp_path, finished
):
    elsewhere = tiny_split.read_text().replace("/", "/other-")
    finished("theirs/fold2", 2, elsewhere, validation=0)
    there = finished("theirs/all", None, elsewhere, validation=0)
    own = finished("own/all", None)
    words = ["--split", tiny_split, "--network", "test_efficientnet", "--size", 64, "--fold", 1]
    words += ["--device", "cpu", "--out", tmp_path / "run", "--weights"]
    assert f"{there}: {LACKING}" in refused("train", tiny_set, *words, there.parent)
    told = f"{own}: was trained on fold 1, which is to be left out"
    assert told in refused("train", tiny_set, *words, own.parent)


def test_a_leaking_split_is_refused_before_its_run_takes_a_name(
    refused, tiny_set, tiny_split, tmp_path, monkeypatch
):
    monkeypatch.setenv("KIRIK_CACHE", str(tmp_path / "cache"))
    words = ["--fold", 1, "--network", "test_efficientnet", "--size", 64, "--weights", "none"]
    words += ["--batch-size", 4, "--epochs", 1, "--out", tmp_path / "run", "--device", "cpu"]
    torn = tiny_split.with_name("torn.csv")
    torn.write_text(tiny_split.read_text().replace(",g1,", ",g0,"))
    said = refused("train", tiny_set, "--split", torn, *words)
    assert "split torn leaks: a group of the split in several parts" in said
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cache").exists()
    assert run(["train", str(tiny_set), "--split", str(tiny_split), *map(str, words)]) == 0


@pytest.mark.parametrize("name", ["inception_v3", "coat_lite_tiny"])
def test_a_network_that_does_not_fit_is_refused_or_built(name, refused, tiny_set, tiny_split):
    words = ["--split", tiny_split, "--fold", 1, "--weights", "none", "--network", name]
    said = refused("train", tiny_set, *words, "--size", 64, "--out", tiny_set.parent / "run")
    assert "cannot be used at 64 pixels" in said


def huge_png(path: Path, side: int = 30_000) -> Path:
    """A valid PNG header that promises side × side pixels, in a file of a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\x00" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    return path


@pytest.fixture
def bad_files(tmp_path, save_radiograph) -> dict[str, Path]:
    good = save_radiograph("good.jpg", 0.6, (300, 200)).read_bytes()
    folder = tmp_path / "bad"
    folder.mkdir()
    files = {
        "empty": (folder / "empty.jpg", b""),
        "truncated": (folder / "cut.jpg", good[: len(good) // 2]),
        "no image": (folder / "letter.jpg", b"Dear doctor, " * 50),
    }
    for path, content in files.values():
        path.write_bytes(content)
    return {name: path for name, (path, _) in files.items()} | {
        "huge": huge_png(folder / "huge.png"),
        "missing": folder / "nowhere.png",
    }


@pytest.mark.parametrize("kind", ["empty", "truncated", "no image", "huge", "missing"])
def test_a_bad_file_alone_is_named_with_exit_code_2(kind, bad_files, make_bundle, capsys):
    path = bad_files[kind]
    assert run(["predict", str(path), "--model", str(make_bundle().path)]) == 2
    said = capsys.readouterr()
    assert path.name in (said.out + said.err).replace("\n", "")
    assert "Traceback" not in said.err


def test_bad_files_beside_good_ones_cost_only_themselves(
    bad_files, make_bundle, save_radiograph, tmp_path, capsys
):
    good = save_radiograph("fine.png", 0.9)
    out = tmp_path / "r.json"
    words = ["predict", *bad_files.values(), good, "--model", make_bundle().path, "--json", out]
    assert run([str(word) for word in words]) == 1
    rows = json.loads(out.read_text())
    assert len(rows) == 6
    assert [row["decision"] for row in rows if "decision" in row] == ["fracture"]
    assert all("\n" not in row["error"] for row in rows if "error" in row)


def test_a_bundle_with_one_changed_byte(refused, make_bundle, save_radiograph):
    bundle = make_bundle()
    for name in ("model.onnx", "bundle.json", "card.md", "SHA256SUMS"):
        content = bytearray((bundle.path / name).read_bytes())
        before = bytes(content)
        content[len(content) // 2] ^= 1
        (bundle.path / name).write_bytes(bytes(content))
        said = refused("predict", save_radiograph("a.png"), "--model", bundle.path)
        assert str(bundle.path) in said
        (bundle.path / name).write_bytes(before)


def as_nobody(*words) -> subprocess.CompletedProcess:
    """Runs kirik as a user without rights on other people's folders."""
    prefix = []
    if os.geteuid() == 0:
        prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    command = [*prefix, sys.executable, "-B", "-m", "kirik", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_a_folder_without_read_permission_is_named_and_the_rest_is_read(
    make_bundle, save_radiograph, tmp_path
):
    bundle = make_bundle()
    good = save_radiograph("open/a.png", 0.9)
    locked = save_radiograph("locked/b.png").parent
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.owner() == tmp_path.owner() and folder != Path("/"):
            folder.chmod(0o755)
    locked.chmod(0o000)
    try:
        done = as_nobody("predict", good, locked, "--model", bundle.path)
    finally:
        locked.chmod(0o755)
    first = done.stderr.split("\n")[0]
    # The children that decode are started by a name, which may lie where that user may not look.
    closed = "Permission denied" in first or "do not start (Permission denied)" in done.stderr
    no_python = done.returncode == 127  # its library lies where that user may not look
    if no_python or "No module named kirik" in done.stderr or closed:
        pytest.skip("the other user may not run this Python")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "locked" in done.stdout + done.stderr


@pytest.fixture
def full_disk(tmp_path) -> Path:
    """A folder on a file system of its own with 256 KiB."""
    place = tmp_path / "full"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_partition_without_a_cluster(refused, save_radiograph):
    assert "--partition goes with --cluster" in refused(
        "predict", save_radiograph("a.png"), "--partition", 5
    )


def test_a_worker_makes_no_room(refused, tmp_path):
    said = refused("worker", "--data", tmp_path / "typo")
    assert f"{tmp_path / 'typo'}: no reading room there" in said
    assert not (tmp_path / "typo").exists()


def test_a_room_without_a_worker_that_is_to_delete_is_not_opened(refused, tmp_path):
    words = ["--no-worker", "--retention-days", 3, "--data", tmp_path / "room"]
    assert "give it to kirik worker" in refused("serve", *words)
    assert not (tmp_path / "room").exists()


def test_a_certificate_is_looked_at_before_the_room_opens(refused, tmp_path):
    pair = [tmp_path / "own.pem", tmp_path / "own.key"]
    words = ["serve", "--data", tmp_path / "room", "--certificate", pair[0], "--key", pair[1]]
    assert f"--certificate {pair[0]}: no such file" in refused(*words)
    for path in pair:
        path.write_text("nothing of the kind")
    assert "no pair in PEM" in refused(*words)
    assert not (tmp_path / "room").exists()


def test_an_empty_path_is_not_the_folder_that_one_stands_in(refused):
    assert "empty path" in refused("predict", "")


def test_a_full_disk_under_predict(refused, full_disk, make_bundle, save_radiograph, capsys):
    bundle = make_bundle()
    radiographs = [save_radiograph(f"{i}.png", 0.9, (600, 600)) for i in range(12)]
    bad = save_radiograph("bad.png")
    bad.write_text("not pixels")
    pictures, records = full_disk / "o", full_disk.parent / "r.jsonl"
    words = ["predict", *radiographs, bad, "--model", bundle.path, "--overlay", pictures]
    words = [str(word) for word in [*words, "--json", records]]
    assert run(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "full" in said
    assert "Traceback" not in said
    drawn, kept = sorted(pictures.glob("*.png")), records.read_bytes()
    assert len(drawn) < len(radiographs)
    assert kept.count(b"\n") == len(radiographs) + 1
    subprocess.run(["mount", "-o", "remount,size=9m", str(full_disk)], check=True)
    before = [path.stat().st_mtime_ns for path in drawn]
    assert run([*words, "--resume"]) == 1  # for the file that could not be read
    assert len(list(pictures.glob("*.png"))) == len(radiographs)
    assert [path.stat().st_mtime_ns for path in drawn] == before
    assert records.read_bytes() == kept
    assert "13 were read before" in capsys.readouterr().err


def test_a_full_disk_under_phantoms(refused, full_disk):
    said = refused("data", "phantoms", full_disk / "p", "--count", 60, "--size", 300)
    assert "full" in said


def test_a_full_disk_under_an_audits_page(refused, full_disk, tiny_set):
    (full_disk / "filler").write_bytes(b"x" * (244 << 10))
    assert "full" in refused("data", "audit", tiny_set, "--html", full_disk / "audit.html")
    assert not (full_disk / "audit.html").exists()


def test_a_full_disk_under_training(refused, full_disk, tiny_set, tiny_split):
    words = ["--split", tiny_split, "--fold", 1, "--weights", "none", "--out", full_disk / "run"]
    words += ["--network", "test_efficientnet", "--size", 64, "--batch-size", 4, "--epochs", 1]
    assert "make room" in refused("train", tiny_set, *words)


def test_a_full_disk_under_the_cache(refused, full_disk, tiny_set, tiny_split, monkeypatch):
    monkeypatch.setenv("KIRIK_CACHE", str(full_disk / "cache"))
    words = ["--split", tiny_split, "--fold", 1, "--weights", "none", "--size", 512]
    said = refused("train", tiny_set, *words, "--out", full_disk / "run")
    assert "cannot write the cache" in said
    assert "KIRIK_CACHE" in said


@pytest.mark.parametrize(
    ("option", "value"), [("--bootstrap", "0"), ("--bootstrap", "-5"), ("--threshold", "1.5")]
)
def test_a_figure_out_of_range_is_named_before_anything_is_read(refused, tmp_path, option, value):
    words = ["model", tmp_path, "--split", "s.csv", "--part", "test", "--out", tmp_path / "report"]
    assert option in refused("evaluate", *words, option, value)


def test_a_preview_of_no_radiograph(refused, tiny_set, tmp_path):
    out = tmp_path / "preview.png"
    assert "--count" in refused("data", "augment-preview", tiny_set, "--out", out, "--count", "0")
    assert not out.exists()


def test_a_split_of_which_nobody_knows_the_patients_says_so(save_radiograph, tmp_path, capsys):
    noise = np.random.default_rng(0)
    for i in range(24):
        name = f"{('normal', 'fractured')[i % 2]}/{'abcdefghijklmnopqrstuvwx'[i]}.png"
        save_radiograph(name, noise.integers(0, 256, (64, 64), dtype=np.uint8))
    films, split = str(tmp_path / "films"), str(tmp_path / "split.csv")
    told = "patients and exams: none known"
    assert run(["data", "split", films, "--out", split, "--folds", "2"]) == 0
    assert told in capsys.readouterr().out
    assert run(["data", "check-split", split, films]) == 0
    assert told in capsys.readouterr().out
    (tmp_path / "films" / "normal" / "exam").mkdir()
    for name in "ac":
        film = tmp_path / "films" / "normal" / f"{name}.png"
        film.rename(film.parent / "exam" / film.name)
    assert run(["data", "split", films, "--out", split, "--folds", "2"]) == 0
    assert told not in capsys.readouterr().out


def test_a_split_that_leaks_is_told_in_words(save_radiograph, tmp_path, capsys):
    noise = np.random.default_rng(0)
    rows = ["image_id,group,split,fold,excluded_because"]
    for i in range(8):
        name = f"{('normal', 'fractured')[i % 2]}/{i}.png"
        save_radiograph(name, noise.integers(0, 256, (64, 64), dtype=np.uint8))
        rows.append(f"{name},g{i // 2 if i < 2 else i},dev,{i % 2 + 1},")
    (tmp_path / "split.csv").write_text("\n".join([*rows, ""]))
    words = ["data", "check-split", str(tmp_path / "split.csv"), str(tmp_path / "films")]
    assert run(words) == 1
    said = capsys.readouterr().out
    assert "a group of the split in several parts: normal/0.png in fold1; fractured/1.png" in said
    assert said.endswith("1 leak\n")
    save_radiograph("normal/9.png", noise.integers(0, 256, (64, 64), dtype=np.uint8))
    (tmp_path / "films/fractured/7.png").unlink()
    assert run(words) == 1
    said = capsys.readouterr().out
    assert "not in the split: 1 radiograph of the data set: normal/9.png\n2 leaks\n" in said
    assert "not looked at: 1 radiograph\n" in said


def test_a_split_that_tears_the_data_sets_patients_trains_nothing(
    refused, tiny_set, tiny_split, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("KIRIK_CACHE", str(tmp_path / "cache"))
    names = [path.relative_to(tiny_set) for path in sorted(tiny_set.glob("*/*.png"))]
    rows = [f"{name.as_posix()},{name.parent},p{i // 2}" for i, name in enumerate(names)]
    table = tiny_set / "patients.csv"
    table.write_text("\n".join(["path,label,patient", *rows]) + "\n")
    words = ["--network", "test_efficientnet", "--size", 64, "--weights", "none"]
    words += ["--batch-size", 4, "--epochs", 1, "--device", "cpu", "--split", tiny_split]
    leak = "split split leaks: a group of the data set in several parts: fractured/fractured0.png"
    assert leak in refused("train", table, *words, "--fold", 1, "--out", tmp_path / "run")
    assert run([str(w) for w in ("crossval", table, *words, "--out", tmp_path / "cv")]) == 2
    assert leak in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cv").exists()
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def undecoded(monkeypatch):
    """Nothing may be decoded, but for what is refused."""

    def decoded(*_, **__):
        pytest.fail("a file was looked at before the refusal")

    for name in ("kirik.dataset.audit.inspect_files", "kirik.splitting.inspect_files"):
        monkeypatch.setattr(name, decoded)
    monkeypatch.setattr("kirik.measuring.read_all", decoded)
    monkeypatch.setattr("kirik.training.preview.read_radiograph", decoded)


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    refused, undecoded, tiny_set, tmp_path
):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    for words in (
        ("audit", tiny_set, "--html"),
        ("audit", tiny_set, "--json"),
        ("split", tiny_set, "--out"),
        ("augment-preview", tiny_set, "--out"),
    ):
        said = refused("data", *words, tmp_path)
        assert said == f"kirik: {tmp_path}: is a folder; name a file"
        said = refused("data", *words, file / "deep" / "x.csv")
        assert f"{file / 'deep' / 'x.csv'}: {file} is a file, no folder" in said
    assert f"{tmp_path}: is a folder" in refused("compare", "a", "b", "--html", tmp_path)


def test_a_place_without_permission_is_told_before_the_work(tmp_path, monkeypatch):
    from kirik.dataset.places import refuse_unwritable
    from kirik.errors import OutputError

    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match=r"x\.json: no permission to write in .*; name another"):
        refuse_unwritable(tmp_path / "new" / "x.json")
    assert not (tmp_path / "new").exists()
    refuse_unwritable(Path("/dev/null"), None)


def test_missing_folders_of_an_audit_and_a_split_are_made(tiny_set, tmp_path):
    place = tmp_path / "new" / "deep"
    words = ["--json", place / "a.json", "--html", place / "a.html"]
    assert run(["data", "audit", str(tiny_set), *map(str, words)]) == 0
    assert {path.name for path in place.iterdir()} == {"a.json", "a.html"}
    out = tmp_path / "other" / "s.csv"
    assert run(["data", "split", str(tiny_set), "--out", str(out), "--folds", "2"]) == 0
    assert out.is_file()


def test_a_report_is_not_written_into_the_data_set(
    refused, undecoded, make_bundle, tiny_set, tiny_split
):
    bundle = make_bundle(classes=("normal", "fractured")).path
    words = ["evaluate", bundle, tiny_set, "--split", tiny_split, "--part", "fold1", "--out"]
    before = sorted(tiny_set.rglob("*"))
    for out in (tiny_set, tiny_set / "normal", tiny_set / "normal" / ".." / "fractured"):
        said = f"{out}: is a folder of the data set; name another one with --out"
        assert refused(*words, out).endswith(said)
    file = tiny_set.parent / "report"
    file.write_text("mine")
    assert f"{file}: {file} is a file" in refused(*words, file)
    assert sorted(tiny_set.rglob("*")) == before


@pytest.mark.parametrize("command", ["train", "crossval", "ensemble"])
def test_nor_is_a_run(refused, undecoded, tiny_set, tiny_split, tmp_path, command):
    words = [command, tiny_set, "--split", tiny_split, "--out"]
    if command == "ensemble":
        words = [command, tmp_path, tmp_path, "--data", *words[1:]]
    before = sorted(tiny_set.rglob("*"))
    for out in (tiny_set, tiny_set / "normal", tiny_set / "runs" / "x", tiny_set / "normal" / "y"):
        assert refused(*words, out).endswith(
            f"{out}: is a folder of the data set; name another one with --out"
        )
    assert sorted(tiny_set.rglob("*")) == before


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--looks", 2), "--looks does nothing without --overview"),
        (("--looks-from", 0.1), "--looks-from does nothing without --overview"),
        (("--close-ups", 0), "--close-ups does nothing without --overview"),
        (("--overview-weight", 2), "--overview-weight does nothing without --overview"),
        (("--policy", "svhn", "--balance", "none"), "--policy does nothing with --balance none"),
        (("--box-weight", 1, "--no-masks"), "--box-weight does nothing with --no-masks"),
    ],
)
@pytest.mark.parametrize("command", ["train", "crossval"])
def test_a_flag_that_cannot_act_is_refused(
    refused, tiny_set, tiny_split, tmp_path, command, flags, told
):
    words = [command, tiny_set, "--split", tiny_split, "--out", tmp_path / "run"]
    assert told in refused(*words, *flags)


def test_a_settings_file_may_state_what_cannot_act(refused, tiny_set, tiny_split, tmp_path):
    """As a run's own does; what is wrong then are the weights."""
    stated = 'balance = "none"\nmasks = false\nbox_weight = 1\nlooks = 2\npolicy = "svhn"\n'
    (tmp_path / "s.toml").write_text(stated)
    words = ["train", tiny_set, "--split", tiny_split, "--out", tmp_path / "run", "--size", 64]
    words += ["--settings", tmp_path / "s.toml", "--weights", "no.st"]
    assert "no such starting weights" in refused(*words)


def test_types_without_a_class_of_no_fracture_train_and_are_told_of_once(
    tiny_set, tiny_split, tmp_path, capsys
):
    for old, new in (("normal", "spiral"), ("fractured", "oblique")):
        (tiny_set / old).rename(tiny_set / new)
        tiny_split.write_text(tiny_split.read_text().replace(f"\n{old}/", f"\n{new}/"))
    words = [tiny_set, "--split", tiny_split, "--network", "test_efficientnet", "--size", 64]
    words += ["--weights", "none", "--batch-size", 4, "--epochs", 1, "--device", "cpu", "--out"]
    told = "no class means “no fracture” (oblique, spiral): types are told apart, but not whether"
    assert run([str(w) for w in ("train", *words, tmp_path / "run")]) == 0
    assert capsys.readouterr().err.count(told) == 1
    words += [tmp_path / "cv", "--final", "none", "--bootstrap", 5]
    assert run([str(w) for w in ("crossval", *words)]) == 0
    assert capsys.readouterr().err.count(told) == 1


def test_that_boxes_of_types_train_no_evidence_map_is_told(tiny_set, tiny_split, tmp_path, capsys):
    rows = [
        f"{a.image_id},{tiny_set / a.image_id},{('spiral', 'oblique')[n % 2]},1 2 3 4"
        for n, a in enumerate(load_split(tiny_split).assignments.values())
    ]
    table = tmp_path / "types.csv"
    table.write_text("image_id,path,label,boxes\n" + "\n".join(rows) + "\n")
    words = ["train", table, "--split", tiny_split, "--weights", "no.st", "--out", tmp_path / "run"]
    told = (
        "the marked fractures train no evidence map, which needs a class that means “no fracture”"
    )
    for own, count in (((), 1), (("--no-masks",), 0)):
        assert run([str(word) for word in (*words, *own)]) == 2
        assert capsys.readouterr().err.count(told) == count


def test_small_sets_of_several_types_train(tmp_path, capsys):
    """Fewer of each class than there would be folds of a tenth."""
    noise, data = np.random.default_rng(0), tmp_path / "types"
    for name in ("normal", "spiral", "oblique"):
        (data / name).mkdir(parents=True)
        for i in range(12):
            pixels = noise.integers(0, 256, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(data / name / f"{name}-{'abcdefghijkl'[i]}.png")
    split = tmp_path / "s.csv"
    words = ["--out", split, "--folds", 2, "--test-share", 0]
    assert run([str(w) for w in ("data", "split", data, *words)]) == 0
    words = ["--split", split, "--fold", 1, "--network", "test_efficientnet", "--size", 64]
    words += ["--weights", "none", "--batch-size", 4, "--epochs", 1, "--device", "cpu"]
    assert run([str(w) for w in ("train", data, *words, "--out", tmp_path / "run")]) == 0


def test_what_nobody_foresaw_has_the_code_of_nothing_done(monkeypatch, capsys):
    def broken(*_):
        raise ZeroDivisionError("of nobody's doing")

    monkeypatch.setattr("kirik.cli.commands.command", broken)
    with pytest.raises(SystemExit) as ended:
        main(["models"])
    assert ended.value.code == 2
    assert "ZeroDivisionError: of nobody's doing" in capsys.readouterr().err


def test_a_system_without_threads_is_told_of_in_one_line(
    tiny_set, few_threads, monkeypatch, capsys
):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal, whose bar has a thread
    few_threads(lambda thread: type(thread).__module__ == "rich.live")
    assert run(["predict", str(tiny_set)]) == 2
    said = capsys.readouterr().err
    assert said.count("no thread can be started here") == 1
    assert "Traceback" not in said
    assert said.rfind("\x1b[?25h") > said.rfind("\x1b[?25l") > -1  # the cursor is back
