"""Files found in folders, whatever else lies there."""

import os
from pathlib import Path

import pytest
from PIL import Image

from kirik.errors import KirikError
from kirik.radiograph import find_files


def found(*paths: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    errors: list[tuple[Path, str]] = []

    def keep(path: Path, error: KirikError):
        assert "\n" not in str(error)
        errors.append((path, error.reason))

    return list(find_files(paths, keep)), errors


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder as people have them: images, tables, rubbish, hidden files, a broken image."""
    for name in ("b/2.jpg", "b/10.jpg", "a.PNG", "c/d/e/deep.tif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)
    Image.new("L", (4, 4)).save(tmp_path / "b" / "scanned.dat", "PNG")
    Image.new("L", (4, 4)).save(tmp_path / ".hidden.jpg")
    (tmp_path / ".cache").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / ".cache" / "x.jpg")
    (tmp_path / "dataset.csv").write_text("image_id,fractured\n")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "bare").write_bytes(b"\x08\0\x05\0CS\x0a\0ISO_IR 100")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "packed.tar").write_bytes(b"a.jpg".ljust(257, b"\0") + b"ustar")
    (tmp_path / "packed.DCM.gz").write_bytes(b"\x1f\x8b\x08")
    (tmp_path / "server.log.gz").write_bytes(b"\x1f\x8b\x08")
    return tmp_path


def test_images_by_suffix_or_content_and_nothing_else(folder):
    files, errors = found(folder)
    names = [str(path.relative_to(folder)) for path in files]
    assert names == [
        "a.PNG",
        "b/10.jpg",
        "b/2.jpg",
        "b/scanned.dat",
        "bare",
        "c/d/e/deep.tif",
        "empty.jpg",
        "packed.DCM.gz",
        "packed.tar",
    ]
    assert errors == []


def test_a_file_named_by_a_number_that_is_hollow_is_given_for_its_error(tmp_path):
    """As a broken export leaves it; not what else lies empty in folders."""
    for name in ("IM0001", "1.2.840.55", "LOCK", "_SUCCESS", ".lock1", "log.1", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "IM0002").write_bytes(bytes(5000))
    (tmp_path / "IM0003").write_bytes(bytes(8) + b"no image")
    names = ["1.2.840.55", "IM0001", "IM0002"]
    assert found(tmp_path) == ([tmp_path / name for name in names], [])


def test_file_named_is_always_given(folder):
    named = [folder / "dataset.csv", folder / ".hidden.jpg"]
    assert found(*named) == (named, [])


def test_missing_path_is_reported_and_the_rest_given(folder):
    files, errors = found(folder / "absent", folder / "a.PNG")
    assert files == [folder / "a.PNG"]
    assert errors == [(folder / "absent", "missing")]


def test_links_in_a_circle_end(folder):
    (folder / "b" / "up").symlink_to(folder)
    (folder / "b" / "self").symlink_to("self")
    plain, _ = found(folder / "c")
    files, errors = found(folder)
    assert len(files) == len({path.resolve() for path in files}) == 9
    assert plain == [folder / "c/d/e/deep.tif"]
    assert errors == []


def test_folders_of_a_drive_that_numbers_none_are_all_looked_into(folder, monkeypatch):
    """As Windows sees many network drives."""
    expected, stat = list(find_files([folder], lambda *_: None)), Path.stat

    def without_number(path, **options):
        facts = [*stat(path, **options)]
        return os.stat_result([facts[0], 0, *facts[2:]])

    monkeypatch.setattr(Path, "stat", without_number)
    assert list(find_files([folder], lambda *_: None)) == expected


def test_linked_folder_is_entered(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "link").symlink_to(folder / "b")
    assert len(found(outside)[0]) == 3


def test_broken_link_with_an_image_name_is_given_for_its_error(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert found(tmp_path)[0] == [tmp_path / "gone.jpg"]


def test_a_folder_named_dicomdir_is_entered(tmp_path):
    (tmp_path / "DICOMDIR").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "DICOMDIR" / "a.png")
    assert found(tmp_path) == ([tmp_path / "DICOMDIR" / "a.png"], [])


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file that refuses to be read")
def test_a_file_that_cannot_be_looked_into_is_given_for_its_error(tmp_path):
    (tmp_path / "IM0001").symlink_to("/proc/self/mem")  # reading it is an input/output error
    (tmp_path / "gone").symlink_to("nowhere")
    assert found(tmp_path) == ([tmp_path / "IM0001"], [])


def test_a_file_without_permission_is_given_for_its_error(tmp_path, monkeypatch):
    Image.new("L", (4, 4)).save(tmp_path / "IM0001", "PNG")
    real_open = open

    def refusing(path, *args, **kwargs):
        if str(path) == str(tmp_path / "IM0001"):
            raise PermissionError(13, "Permission denied")
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refusing)
    assert found(tmp_path) == ([tmp_path / "IM0001"], [])


def test_pipes_are_passed_over(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    assert found(tmp_path) == ([], [])


def test_folder_without_permission_is_reported_and_the_rest_given(folder, monkeypatch):
    real_scandir = os.scandir

    def scandir(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    files, errors = found(folder)
    assert errors == [(folder / "b", "no_permission")]
    left = ["a.PNG", "bare", "deep.tif", "empty.jpg", "packed.DCM.gz", "packed.tar"]
    assert [path.name for path in files] == left
