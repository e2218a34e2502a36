import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kirik.bundle import FORMAT, Evidence, Manifest, Scope, find_bundle, load_bundle, write_bundle
from kirik.cli import run
from kirik.errors import BundleError
from kirik.joining import average_bundles
from kirik.operating_points import OperatingPoints
from kirik.preprocessing import Preprocessing


@pytest.fixture
def manifest():
    return Manifest(
        name="wrist",
        version="3",
        created="2026-01-31",
        classes=("not_fractured", "fractured"),
        negative=0,
        preprocessing=Preprocessing(size=64),
        temperature=1.7,
        operating_points=OperatingPoints(low=0.2, high=0.6, sensitivity=0.95),
        evidence=Evidence(stride=8, threshold=0.4),
        network="mobilenet",
        provenance={"seed": 1, "split": "fracatlas-v1", "settings": {"epochs": 3}},
    )


def rewrite(folder, name, content):
    """Change a file and its line of SHA256SUMS: a bundle that is whole, and wrong."""
    (folder / name).write_bytes(content)
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    lines = [line for line in lines if not line.endswith(f"  {name}")]
    lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}")
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_bundle_comes_back_as_it_was_written(tmp_path, manifest):
    source = tmp_path / "history.csv"
    source.write_text("epoch,loss\n1,0.5\n")
    written = write_bundle(
        tmp_path / "b", manifest, {"model.onnx": b"graph", "card.md": b"#", "history.csv": source}
    )
    loaded = load_bundle(tmp_path / "b")
    assert loaded == written
    assert loaded.manifest == manifest
    assert loaded.read("model.onnx") == b"graph"
    assert loaded.files["history.csv"].read_text() == source.read_text()


def test_sha256sum_itself_confirms_a_bundle(make_bundle):
    bundle = make_bundle()
    check = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=bundle.path, capture_output=True
    )
    assert check.returncode == 0
    files = {p.relative_to(bundle.path).as_posix() for p in bundle.path.rglob("*") if p.is_file()}
    assert files == set(bundle.checksums) | {"SHA256SUMS"}


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "card.md", "metrics.json"])
def test_one_changed_byte_in_any_file_is_found_and_named(make_bundle, name):
    bundle = make_bundle()
    content = bytearray((bundle.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle.path / name).write_bytes(content)
    with pytest.raises(BundleError, match="was changed or damaged") as error:
        load_bundle(bundle.path)
    assert name in one_line(error)
    assert str(bundle.path) in one_line(error)


def test_one_changed_byte_anywhere_in_the_checksums_is_found(make_bundle):
    sums = make_bundle().path / "SHA256SUMS"
    whole = sums.read_bytes()
    for place in range(len(whole)):
        for flipped in (whole[place] ^ 1, whole[place] ^ 0x20, 0x2A):
            if flipped == whole[place]:
                continue
            sums.write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
            with pytest.raises(BundleError):
                load_bundle(sums.parent)


def test_a_missing_a_cut_and_an_emptied_file_are_found(make_bundle):
    folder = make_bundle().path
    graph = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(graph[:-10])
    with pytest.raises(BundleError, match=r"model\.onnx was changed or damaged"):
        load_bundle(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing; get the bundle again"):
        load_bundle(folder)
    (folder / "SHA256SUMS").write_text("")
    with pytest.raises(BundleError, match=r"does not list bundle\.json"):
        load_bundle(folder)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(BundleError, match="SHA256SUMS is missing"):
        load_bundle(folder)


def test_a_file_changed_after_loading_is_not_used(make_bundle):
    bundle = make_bundle()
    (bundle.path / "model.onnx").write_bytes(b"another graph")
    with pytest.raises(BundleError, match="was changed or damaged"):
        bundle.read("model.onnx")
    with pytest.raises(BundleError, match=r"the bundle has no notes\.txt"):
        bundle.read("notes.txt")


def test_a_stray_file_does_not_matter(make_bundle):
    folder = make_bundle().path
    (folder / ".DS_Store").write_bytes(b"\0")
    assert ".DS_Store" not in load_bundle(folder).files


def test_what_is_not_a_bundle_is_told_in_one_line(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for path, said in [
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path / "a.txt", "is a file, not a bundle's folder"),
        (tmp_path, "not a bundle"),
    ]:
        with pytest.raises(BundleError, match=said) as error:
            load_bundle(path)
        assert str(path) in one_line(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_closed_file_is_told_with_what_to_do(make_bundle):
    folder = make_bundle().path
    (folder / "model.onnx").chmod(0)
    with pytest.raises(BundleError, match=r"cannot be read .* check its permissions"):
        load_bundle(folder)


def test_a_refused_file_is_told_with_what_to_do(make_bundle):
    folder = make_bundle().path
    (folder / "card.md").unlink()
    (folder / "card.md").mkdir()
    with pytest.raises(BundleError, match=r"card\.md cannot be read \(Is a directory\)"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../b", "a\\b", "a//b", ".hidden", "-x", "a\nb", ""]
)
def test_no_name_leads_out_of_a_bundle(tmp_path, make_bundle, manifest, name):
    with pytest.raises(BundleError, match="cannot be the name of a file"):
        write_bundle(tmp_path / "new", manifest, {"model.onnx": b"", name: b"x"})
    assert not (tmp_path / "new").exists()
    folder = make_bundle().path
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(BundleError, match=r"cannot be the name|is not a checksum"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["bundle.json", "SHA256SUMS"])
def test_the_bundles_own_files_cannot_be_slipped_in(tmp_path, manifest, name):
    with pytest.raises(BundleError, match="cannot be the name of a file"):
        write_bundle(tmp_path / "new", manifest, {"model.onnx": b"", name: b"x"})


def test_a_newer_bundle_is_refused_as_such(make_bundle):
    folder = make_bundle().path
    said = json.loads((folder / "bundle.json").read_text())
    said |= {"format": FORMAT + 1, "unheard_of": True}
    rewrite(folder, "bundle.json", json.dumps(said).encode())
    with pytest.raises(BundleError, match=r"written by a newer kirik .* update kirik"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unheard_of": 1}, "unheard_of"),
        ({"classes": ["one"]}, "classes"),
        ({"classes": ["a", "a"]}, "same name"),
        ({"negative": 2}, "not the index"),
        ({"negative": None}, "go together"),
        ({"operating_points": None}, "go together"),
        ({"operating_points": {"low": 0.9, "high": 0.1}}, "low=0.9"),
        ({"temperature": 0}, "temperature"),
        ({"bias": [0.1]}, "one bias a class"),
        ({"bias": [0.1, float("nan")]}, "bias"),
        ({"overview_weight": 0.5}, "looks"),
        ({"temperature": float("nan")}, "temperature"),
        ({"kind": "average"}, "members"),
        ({"kind": "average", "members": ["../x"]}, "members"),
        ({"members": ["a"]}, "members"),
        ({"format": 0}, "format"),
        ({"preprocessing": {"size": 64, "fit": "stretch"}}, "preprocessing.fit"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused_in_one_line(make_bundle, change, said):
    folder = make_bundle().path
    manifest = json.loads((folder / "bundle.json").read_text()) | change
    rewrite(folder, "bundle.json", json.dumps(manifest).encode())
    with pytest.raises(BundleError) as error:
        load_bundle(folder)
    assert said in one_line(error)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", 100_000 * b"["])
def test_a_manifest_that_is_no_object_is_refused(make_bundle, content):
    folder = make_bundle().path
    rewrite(folder, "bundle.json", content)
    with pytest.raises(BundleError) as error:
        load_bundle(folder)
    assert "bundle.json" in one_line(error)


def test_a_bundle_without_its_graph_is_refused(tmp_path, manifest):
    with pytest.raises(BundleError, match=r"has no model\.onnx"):
        write_bundle(tmp_path / "b", manifest, {"card.md": b"#"})
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_not_written_over_unless_asked(tmp_path, manifest):
    old = write_bundle(tmp_path / "b", manifest, {"model.onnx": b"old", "card.md": b"#"})
    with pytest.raises(BundleError, match="already exists"):
        write_bundle(tmp_path / "b", manifest, {"model.onnx": b"new"})
    assert load_bundle(tmp_path / "b").read("model.onnx") == b"old"
    new = write_bundle(tmp_path / "b", manifest, old.files | {"model.onnx": b"new"}, replace=True)
    assert new.read("model.onnx") == b"new"
    assert new.read("card.md") == b"#"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path, manifest):
    precious = tmp_path / "home" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years")
    with pytest.raises(BundleError, match="not a bundle, so it is not replaced"):
        write_bundle(precious.parent, manifest, {"model.onnx": b""}, replace=True)
    assert precious.read_text() == "years"


def test_a_write_that_fails_leaves_the_old_bundle_and_no_draft(tmp_path, manifest):
    write_bundle(tmp_path / "b", manifest, {"model.onnx": b"old"})
    with pytest.raises(BundleError, match=r"cannot be written .*free some space"):
        write_bundle(tmp_path / "b", manifest, {"model.onnx": tmp_path / "none"}, replace=True)
    assert load_bundle(tmp_path / "b").read("model.onnx") == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks on folders")
def test_what_one_that_was_killed_left_goes_with_the_next_and_a_live_ones_draft_stays(
    tmp_path, manifest
):
    write_bundle(tmp_path / "b", manifest, {"model.onnx": b"old"})
    words = (
        "import sys; from kirik import bundle;"
        "own = bundle.load_bundle(sys.argv[1]);"
        "bundle.load_bundle = lambda draft: print(draft, flush=True) or input();"
        "bundle.write_bundle(sys.argv[1], own.manifest, own.files, replace=True)"
    )
    command = [sys.executable, "-c", words, tmp_path / "b"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as its:
        draft = Path(its.stdout.readline().strip())
        swapped = draft.with_name(f"{draft.name}.old")
        swapped.mkdir()
        write_bundle(tmp_path / "b", manifest, {"model.onnx": b"new"}, replace=True)
        assert load_bundle(draft).read("model.onnx") == b"old"
        assert not swapped.exists()
        its.kill()
    assert draft.exists()
    write_bundle(tmp_path / "b", manifest, {"model.onnx": b"newer"}, replace=True)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_run_stands_for_the_bundle_in_it(tmp_path, manifest):
    write_bundle(tmp_path / "run" / "bundle", manifest, {"model.onnx": b"graph"})
    assert load_bundle(tmp_path / "run").path == tmp_path / "run" / "bundle"


def test_without_a_name_the_environment_names_the_bundle(tmp_path, monkeypatch, make_bundle):
    bundle = make_bundle()
    monkeypatch.setenv("KIRIK_MODEL", str(bundle.path))
    assert find_bundle() == bundle.path
    assert find_bundle(tmp_path) == tmp_path


def test_without_any_model_the_error_says_how_to_get_one(tmp_path, monkeypatch, make_bundle):
    monkeypatch.delenv("KIRIK_MODEL", raising=False)
    monkeypatch.setattr("kirik.bundle.SHIPPED", tmp_path / "models")
    with pytest.raises(BundleError, match=r"kirik train.*--model.*KIRIK_MODEL"):
        find_bundle()
    monkeypatch.setattr("kirik.bundle.SHIPPED", make_bundle().path.parent)
    assert find_bundle().name == "bright"


def test_an_average_holds_whole_bundles_of_its_members(tmp_path, make_bundle):
    first, second = make_bundle("first"), make_bundle("second", temperature=2.0)
    average = average_bundles([first.path, second.path], tmp_path / "mean", "mean")
    assert average.manifest.kind == "average"
    assert [m.manifest for m in average.members] == [first.manifest, second.manifest]
    for member in average.members:
        assert load_bundle(member.path).manifest == member.manifest


def test_an_average_promises_no_more_than_each_of_its_members(tmp_path, make_bundle):
    said = ((0.99, OperatingPoints(0.1, 0.5)), (0.95, OperatingPoints(0.3, 0.9)))
    places = [
        make_bundle(name, scope=Scope(threshold=2, accepted=accepted), operating_points=points).path
        for name, (accepted, points) in zip("ab", said, strict=True)
    ]
    found = average_bundles(places, tmp_path / "average", "average", weights=(3, 1)).manifest
    assert (found.scope.accepted, found.weights) == (0.95, (3, 1))
    points = found.operating_points
    assert (points.low, points.high) == pytest.approx((0.2, 0.7))


def test_an_average_of_bundles_of_one_name_keeps_them_apart(tmp_path, make_bundle):
    paths = []
    for seed in "123":
        made = make_bundle("same", provenance={"seed": seed})
        paths.append(made.path.rename(tmp_path / f"seed{seed}"))
    average = average_bundles(paths, tmp_path / "mean", "mean")
    assert len(set(average.manifest.members)) == 3


def test_an_average_is_written_to_a_folder_of_a_long_name(tmp_path, make_bundle):
    paths = [str(make_bundle(name, temperature=t).path) for name, t in (("a", 1.0), ("b", 2.0))]
    out = tmp_path / ("long" * 40)
    assert run(["ensemble", *paths, "--out", str(out)]) == 0
    assert load_bundle(out).manifest.name == "long" * 25


def test_bundles_of_long_names_are_averaged(tmp_path, make_bundle):
    paths = [make_bundle(99 * "a" + letter).path for letter in "bc"]
    average = average_bundles(paths, tmp_path / "mean", "mean")
    assert average.manifest.members == (70 * "a", 70 * "a" + "-no2")


def test_a_bundle_is_averaged_once_under_whatever_name(tmp_path, make_bundle):
    one, other = make_bundle("one").path, make_bundle("other").path
    copy = shutil.copytree(one, tmp_path / "copy")
    for again in (one, copy):
        with pytest.raises(BundleError, match=f"{again}: the same bundle as {one}; name each"):
            average_bundles([one, other, again], tmp_path / "mean", "mean")
    assert not (tmp_path / "mean").exists()


def test_a_changed_byte_in_a_member_is_found(tmp_path, make_bundle):
    average = average_bundles(
        [make_bundle("a").path, make_bundle("b").path], tmp_path / "mean", "mean"
    )
    graph = average.path / "members" / "b" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(BundleError, match=r"members/b/model\.onnx was changed"):
        load_bundle(average.path)


def test_a_member_whose_own_checksums_say_otherwise_is_found(tmp_path, make_bundle):
    average = average_bundles(
        [make_bundle("a").path, make_bundle("b").path], tmp_path / "mean", "mean"
    )
    sums = average.path / "members" / "b" / "SHA256SUMS"
    text = sums.read_text()
    rewrite(average.path, "members/b/SHA256SUMS", text.replace(text[:8], "0" * 8, 1).encode())
    with pytest.raises(BundleError, match="was changed or damaged"):
        load_bundle(average.path)


def test_bundles_of_other_classes_are_not_averaged(tmp_path, make_bundle):
    other = make_bundle("other", classes=("normal", "fractured"))
    with pytest.raises(BundleError, match=r"its classes .* are not those of"):
        average_bundles([make_bundle().path, other.path], tmp_path / "mean", "mean")
    with pytest.raises(BundleError, match="two bundles or more"):
        average_bundles([other.path], tmp_path / "mean", "mean")
    pair = [other.path, make_bundle("another", classes=("normal", "fractured")).path]
    with pytest.raises(BundleError, match="one weight a member"):
        average_bundles(pair, tmp_path / "mean", "mean", weights=(1, 2, 3))
    assert not (tmp_path / "mean").exists()


def test_an_average_of_averages_is_verified_to_its_leaves(tmp_path, make_bundle):
    leaves = [make_bundle("a").path, make_bundle("b").path]
    inner = average_bundles(leaves, tmp_path / "inner", "inner")
    outer = average_bundles([inner.path, leaves[0]], tmp_path / "outer", "outer")
    assert [m.manifest.name for m in outer.members[0].members] == ["a", "b"]
    card = outer.path / "members" / "inner" / "members" / "b" / "card.md"
    card.write_text("changed")
    with pytest.raises(BundleError, match=r"members/inner/members/b/card\.md was changed"):
        load_bundle(outer.path)
