"""What DICOM's tags say is of one study or patient stays on one side of a split."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from pydicom.uid import generate_uid

from dicom.helpers import SECRET, content_of, dicom
from kirik.cli import run
from kirik.dataset import inspect
from kirik.dataset.audit import PatientFacts, audit
from kirik.dataset.audit_page import write_audit
from kirik.dataset.groups import LONGEST_RUN
from kirik.dataset.sources import load_index

COUNT = 24


@pytest.fixture(autouse=True)
def no_workers(monkeypatch):
    """To start processes that look at files would take most of the time."""
    monkeypatch.setattr(inspect, "_can_spawn", lambda: False)


@pytest.fixture
def films(tmp_path):
    """Writes radiographs of noise in two classes, film n with the tags that tags_of(n) names."""

    def write(tags_of, count: int = COUNT):
        noise = np.random.default_rng(0)
        for number in range(count):
            path = tmp_path / "films" / ("normal", "fractured")[number % 2] / f"{number:02d}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = noise.integers(0, 4096, (48, 48), dtype=np.uint16)
            path.write_bytes(content_of(dicom(pixels, **tags_of(number))))
        return tmp_path / "films"

    return write


def groups_of(split) -> dict[str, set[str]]:
    """The split's groups of several radiographs."""
    found: dict[str, set[str]] = {}
    with split.open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["group"], set()).add(row["image_id"][-6:-4])
    return {group: ids for group, ids in found.items() if len(ids) > 1}


def make(films, tmp_path, capsys) -> tuple[dict[str, set[str]], str]:
    out = tmp_path / "split.csv"
    assert run(["data", "split", str(films), "--out", str(out), "--folds", "2"]) == 0
    return groups_of(out), capsys.readouterr().out


def pairs(distance: int = 1) -> list[set[str]]:
    return [
        {f"{number:02d}", f"{number + distance:02d}"} for number in range(0, COUNT, 2 * distance)
    ]


def test_a_patient_s_radiographs_stay_together_and_no_id_is_told(films, tmp_path, capsys):
    folder = films(lambda number: {"PatientID": f"{SECRET}{number // 2}"})
    groups, said = make(folder, tmp_path, capsys)
    assert sorted(groups.values(), key=sorted) == pairs()
    assert "none known" not in said
    assert run(["data", "check-split", str(tmp_path / "split.csv"), str(folder)]) == 0
    report = tmp_path / "audit.json"
    assert run(["data", "audit", str(folder), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["groups"]["groups"] == COUNT // 2
    told = (tmp_path / "split.csv").read_text() + report.read_text() + capsys.readouterr().out
    assert SECRET not in told


def test_a_study_s_radiographs_stay_together_whoever_the_patient_is(films, tmp_path, capsys):
    uids = [generate_uid() for _ in range(COUNT // 2)]
    folder = films(lambda number: {"PatientID": "", "StudyInstanceUID": uids[number // 2]})
    groups, _ = make(folder, tmp_path, capsys)
    assert sorted(groups.values(), key=sorted) == pairs()


def test_a_split_that_tears_a_patient_leaks(films, tmp_path, capsys):
    folder = films(lambda number: {"PatientID": f"P{number // 2}"})
    rows = ["image_id,group,split,fold,excluded_because"]
    for record in load_index(folder).records:
        number = int(record.path.stem)
        rows.append(f"{record.id},g{number},dev,{1 if number < COUNT // 2 + 1 else 2},")
    split = tmp_path / "torn.csv"
    split.write_text("\n".join(rows) + "\n")
    assert run(["data", "check-split", str(split), str(folder)]) == 1
    said = capsys.readouterr().out
    assert "a group of the data set in several parts: normal/12.dcm in fold1; " in said
    assert said.endswith("\n1 leak\n")


@pytest.mark.parametrize(
    "name",
    [
        *("", "ANONYMOUS", "anon-000", "0000", "XXXX", "no id"),
        *("Anonymous^Patient", "İSİMSİZ", "Hasta^0"),
    ],
)
def test_what_stands_for_no_patient_binds_nothing(films, tmp_path, capsys, name):
    tags = {"PatientID": name, "SpecificCharacterSet": "ISO_IR 192"}
    groups, said = make(films(lambda number: tags), tmp_path, capsys)
    assert not groups
    assert "patients and exams: none known" in said


def test_an_id_of_more_radiographs_than_a_patient_has_binds_nothing(films, tmp_path, capsys):
    folder = films(lambda number: {"PatientID": SECRET if number < 44 else "P1"}, count=48)
    out = tmp_path / "split.csv"
    assert run(["data", "split", str(folder), "--out", str(out), "--folds", "2"]) == 0
    assert [*groups_of(out).values()] == [{"44", "45", "46", "47"}]
    said = capsys.readouterr().err
    assert "groups by DICOM's tags: 1, of 4 radiographs\n" in said
    assert "more than 40 radiographs share, taken for placeholders: 1, of 44 radiographs\n" in said
    assert SECRET not in said
    assert audit(load_index(folder), workers=0).patients == PatientFacts(files=48, without=44)


def test_a_folder_of_more_radiographs_than_a_patient_has_is_told(films, tmp_path, capsys):
    folder = films(lambda number: {"PatientID": ""}, count=96)
    (folder / "normal" / "p1").mkdir()
    (folder / "normal" / "p2").mkdir()
    for number, film in enumerate(sorted((folder / "normal").glob("*.dcm"))):
        film.rename(film.parent / ("p1" if number < 44 else "p2") / film.name)
    out = tmp_path / "split.csv"
    told = (
        "folders of more than 40 radiographs, taken for no patient's or exam's: 1; first: "
        "normal/p1 (44 radiographs); if they are one's, list the radiographs in a CSV with a "
        "column patient\n"
    )
    assert run(["data", "split", str(folder), "--out", str(out), "--folds", "2"]) == 0
    assert told in capsys.readouterr().err
    assert run(["data", "check-split", str(out), str(folder)]) == 0
    assert told in capsys.readouterr().err
    assert run(["data", "audit", str(folder)]) == 0
    assert "Folders of more radiographs than a patient has" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "Of 4 DICOM files, 2 without a patient&#39;s id, or with a placeholder for one"),
        ("tr", "4 DICOM dosyasının 2 tanesinde hasta kimliği yok ya da"),
    ],
)
def test_the_audit_tells_how_many_name_no_patient(films, tmp_path, language, told):
    ids = (f"{SECRET}1", "ANONYMOUS", "", f"{SECRET}2")
    folder, page = films(lambda number: {"PatientID": ids[number]}, count=4), tmp_path / "a.html"
    found = audit(load_index(folder), workers=0)
    write_audit(found, page, language)
    assert told in page.read_text(encoding="utf-8")
    assert SECRET not in page.read_text(encoding="utf-8")
    write_audit(replace(found, patients=PatientFacts(4, 0)), page, language)
    assert "DICOM dosya" not in page.read_text(encoding="utf-8")
    assert "DICOM files" not in page.read_text(encoding="utf-8")


def test_a_study_of_however_many_radiographs_stays_together(films, tmp_path, capsys):
    uid, count = generate_uid(), LONGEST_RUN + 2
    tags = {"PatientID": "", "StudyInstanceUID": uid}
    folder = films(lambda number: tags if number < count else {"PatientID": ""}, count=2 * count)
    groups, _ = make(folder, tmp_path, capsys)
    assert [len(ids) for ids in groups.values()] == [count]


def test_a_pair_that_tags_bind_leaves_the_other_files_their_exams(films, tmp_path, capsys):
    """By file numbers, as where no tag binds."""
    tags = [{"PatientID": "P1" if number in (2, 3) else ""} for number in range(COUNT)]
    folder = films(tags.__getitem__)
    names = [f"N{n + n // 4:02d}.dcm" for n in range(COUNT)]  # a gap after each four
    labels = ["normal", "fractured"] * (COUNT // 2)
    rows = [
        f"{label}/{n:02d}.dcm,{name},{label},hand"
        for n, (name, label) in enumerate(zip(names, labels, strict=True))
    ]
    table = folder / "list.csv"
    table.write_text("path,image_id,label,region\n" + "\n".join(rows) + "\n")
    out = tmp_path / "split.csv"
    assert run(["data", "split", str(table), "--out", str(out), "--folds", "2"]) == 0
    expected = [["00", "01"], ["02", "03"]]
    expected += [[f"{5 * n + k:02d}" for k in range(4)] for n in range(1, COUNT // 4)]
    assert sorted(map(sorted, groups_of(out).values())) == expected
    torn = tmp_path / "torn.csv"
    lines = [f"{name},{name},dev,{1 + (name == 'N05.dcm')}" for name in names]
    torn.write_text("image_id,group,split,fold\n" + "\n".join(lines) + "\n")
    capsys.readouterr()
    assert run(["data", "check-split", str(torn), str(table)]) == 1
    said = capsys.readouterr().out
    assert (
        "one exam, by its file numbers, in several parts: N06.dcm, N07.dcm, N08.dcm in fold1; "
        in said
    )
    assert said.endswith("\n1 leak\n")


def test_nothing_of_a_tag_that_is_no_valid_id_is_said(films, tmp_path, capfd, monkeypatch):
    """pydicom warns of one with its value; whole commands, whose workers write beside them."""
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        folder = films(lambda n: {"PatientID": "", "StudyInstanceUID": f"{SECRET}{n // 2}"})
    capfd.readouterr()
    words = [
        ["audit", folder],
        ["split", folder, "--out", tmp_path / "split.csv", "--folds", "2"],
        ["shrink", folder, tmp_path / "small", "--size", "32"],
    ]
    for own in words:
        assert run(["data", *map(str, own)]) == 0
    said = "".join(capfd.readouterr())
    assert "Yilmaz" not in said
    assert "Warning" not in said


def test_tags_bind_beside_what_the_data_set_names(films, tmp_path, capsys):
    """A folder holds 0 and 2, tags bind 0 with 1, 2 with 3 and so on: 0 to 3 are one."""
    folder = films(lambda number: {"PatientID": f"P{number // 2}"})
    (folder / "normal" / "visit").mkdir()
    for number in (0, 2):
        film = folder / "normal" / f"{number:02d}.dcm"
        film.rename(film.parent / "visit" / film.name)
    groups, _ = make(folder, tmp_path, capsys)
    assert sorted(groups.values(), key=sorted) == [{"00", "01", "02", "03"}, *pairs()[2:]]


def test_a_small_copy_keeps_together_what_the_tags_did(films, tmp_path, capsys):
    folder = films(lambda number: {"PatientID": f"{SECRET}{number // 2}"})
    small = tmp_path / "small"
    assert run(["data", "shrink", str(folder), str(small), "--size", "32"]) == 0
    groups, _ = make(small, tmp_path, capsys)
    assert sorted(groups.values(), key=sorted) == pairs()
    assert SECRET not in (small / "data.csv").read_text()
