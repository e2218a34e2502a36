"""A folder per class becomes an index, and what is wrong with one is said."""

import os
from pathlib import Path

import numpy as np
import pytest
from data_sets import ids_of, image, kinds, refused
from PIL import Image

from dicom.helpers import content_of, dicom
from kirik.dataset.inspect import inspect_files
from kirik.dataset.sources import load_index, write_index


class TestFolders:
    def test_classes_are_folders_and_the_negative_one_comes_first(self, tmp_path):
        for name in ("Transverse/a.png", "Greenstick/exam 1/b.JPG", "Kırık Yok/c.tif", "oblique/d"):
            image(tmp_path / name)
        (tmp_path / "oblique" / "d").write_bytes(bytes(128) + b"DICM")
        index = load_index(tmp_path)
        assert index.kind == "folders"
        assert index.classes == ("kırık_yok", "greenstick", "oblique", "transverse")
        assert index.negative == 0
        assert [record.id for record in index.records] == [
            "Greenstick/exam 1/b.JPG",
            "Kırık Yok/c.tif",
            "Transverse/a.png",
            "oblique/d",
        ]
        assert index.by_id["oblique/d"].label == 2

    def test_a_folder_whose_name_says_nothing_is_refused(self, tmp_path):
        for name in ("normal/a.png", "fractured/b.png", "NaN/c.png"):
            image(tmp_path / name)
        refused(tmp_path, "NaN: a class of this name says nothing; rename the folder")

    def test_a_folder_within_a_class_is_a_patients_or_an_exams(self, tmp_path):
        names = ("p1/s1/1", "p1/s2/1", "hand/p2/1", "hand/p2/2", "loose", "train/3", "AP/4")
        for name in (*names, "XR_WRIST/left/5", "fold1/6"):
            image(tmp_path / "normal" / f"{name}.png")
        image(tmp_path / "fractured" / "p1" / "s1" / "2.png")
        image(tmp_path / "fractured" / "forearm" / "p2" / "3.png")
        for number in range(41):
            image(tmp_path / "fractured" / "all" / f"{number}.png")
        index = load_index(tmp_path)
        groups = {record.id: record.group for record in index.records}
        assert groups["normal/p1/s1/1.png"] == groups["normal/p1/s2/1.png"] == "p1"
        assert groups["fractured/p1/s1/2.png"] == "p1"  # one patient, whatever the class
        assert groups["normal/hand/p2/1.png"] == groups["normal/hand/p2/2.png"] == "p2"
        assert groups["fractured/forearm/p2/3.png"] == "p2"  # nor whatever the region
        for name in ("loose", "train/3", "AP/4", "XR_WRIST/left/5", "fold1/6"):
            assert groups[f"normal/{name}.png"] is None
        assert groups["fractured/all/3.png"] is None  # more than an exam may have
        assert ids_of(index, "crowded_folder") == {"fractured/all"}

    def test_folders_of_more_radiographs_than_a_patient_has_are_told_where_they_may_be_one_s(
        self, tmp_path
    ):
        crowds = ("normal/p1", "normal/p2/s1", "fractured/clinic", "fractured/hand/p3/AP")
        for number in range(82):
            for crowd in crowds[: 4 if number < 41 else 1]:
                image(tmp_path / crowd / f"{number}.png")
            image(tmp_path / "normal" / "2019" / f"p{number // 2 % 20}" / f"{number}.png")
            image(tmp_path / "fractured" / "lateral" / f"{number}.png")
        image(tmp_path / "normal" / "p4" / "1.png")
        image(tmp_path / "normal" / "p2" / "s2" / "1.png")
        image(tmp_path / "fractured" / "clinic" / "p5" / "1.png")
        index = load_index(tmp_path)
        told = {defect.ids[0]: defect.detail for defect in index.defects}
        assert told == {
            "normal/2019": "82 radiographs",  # beside p4, so that it may be one's, too
            "normal/p1": "82 radiographs",
            "normal/p2": "42 radiographs",
            "normal/p2/s1": "41 radiographs",
            "fractured/hand/p3": "41 radiographs",
        }
        assert kinds(index) == {"crowded_folder": 5}

    def test_only_images_are_records(self, tmp_path):
        for name in ("a/1.png", "b/2.png", "a/._1.png", "a/.hidden/3.png", "loose.png"):
            image(tmp_path / name)
        for name in ("a/notes.txt", "a/README", "b/Thumbs.db"):
            (tmp_path / name).write_text("no radiograph")
        (tmp_path / "docs").mkdir()
        (tmp_path / "labels.csv").write_text("path,label\n")
        index = load_index(tmp_path)
        assert [record.id for record in index.records] == ["a/1.png", "b/2.png"]
        assert ids_of(index, "empty_folder") == {"docs"}
        assert ids_of(index, "unlisted_file") == {"loose.png"}
        assert ids_of(index, "unused_table") == {"labels.csv"}

    def test_a_dicom_named_by_its_uid_is_a_record(self, tmp_path):
        for name in ("a/1.2.840.113619.7", "b/1.2.840.113619.8"):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_bytes(bytes(128) + b"DICM")
        (tmp_path / "a" / "1.2.3").write_bytes(bytes(140))
        assert len(load_index(tmp_path).records) == 2

    def test_records_are_what_a_reading_takes_and_other_formats_are_told(self, tmp_path):
        content = content_of(dicom(np.zeros((30, 40), np.uint16)))
        for name in ("a/1.ima", "a/2.img", "a/3", "b/4.IMA"):
            image(tmp_path / name).write_bytes(content)
        (tmp_path / "a" / "5").write_bytes(content[132:])  # without a preamble
        image(tmp_path / "b" / "6.bin")
        for name in ("a/7.jfif", "a/8.jpe", "b/9.webp", "b/10.bmp"):
            Image.new("L", (40, 30)).save(tmp_path / name, "BMP" if "1" in name else "JPEG")
        (tmp_path / "a" / "11.dcm.gz").write_bytes(b"\x1f\x8b")
        (tmp_path / "a" / "12.txt").write_text("0 0.5 0.5 0.1 0.1")
        index = load_index(tmp_path)
        assert [int(record.path.stem) for record in index.records] == [1, 2, 3, 5, 7, 8, 4, 6, 9]
        assert ids_of(index, "not_an_image") == {"a/11.dcm.gz", "b/10.bmp"}
        assert len(index.defects) == 2
        assert all(file.decoded for file in inspect_files(index, workers=0))

    def test_folders_whose_names_mean_the_same_are_one_class(self, tmp_path):
        for name in ("Not fractured/1.png", "not-fractured/2.png", "fractured/3.png"):
            image(tmp_path / name)
        assert load_index(tmp_path).counts() == {"not_fractured": 2, "fractured": 1}

    @pytest.mark.parametrize(
        ("names", "negative"),
        [
            (("kirik", "kirik degil"), "kirik_degil"),
            (("Kırık", "Kırık değil"), "kırık_değil"),
            (("KIRIK", "KIRIK DEĞİL"), "kirik_değil"),
            (("Fracture", "Non-Fracture"), "non_fracture"),
            (("broken", "not broken"), "not_broken"),
            (("Kırık", "Kırık olmayan"), "kırık_olmayan"),
            (("fraktür", "sağlıklı"), "sağlıklı"),
            (("yes", "No"), "no"),
            (("fractured", "no"), "no"),
            (("VAR", "YOK"), "yok"),
            (("kırık", "yok"), "yok"),
            (("EVET", "HAYIR"), "hayir"),
            (("0.0", "1.0"), "0.0"),
            (("hand", "no"), None),
            (("var", "yok", "belirsiz"), None),
        ],
    )
    def test_turkish_and_plain_words_mean_no_fracture(self, tmp_path, names, negative):
        for name in names:
            image(tmp_path / name / "1.png")
        index = load_index(tmp_path)
        assert (index.negative is None) is (negative is None)
        assert negative in (None, index.classes[0])

    @pytest.mark.parametrize(
        ("tops", "within"),
        [
            (("train", "val", "test"), ("fractured", "normal")),
            (("Training", "Validation"), ("Kırık", "kırık yok")),
            (("train", "test"), ("spiral", "oblique")),
            (("hand", "leg"), ("positive", "negative")),
            (("data",), ("fractured", "normal")),
        ],
    )
    def test_classes_within_other_folders_are_refused(self, tmp_path, tops, within):
        for top in tops:
            for name in within:
                image(tmp_path / top / name / f"{top}{name}.png")
        said = rf"its folders \({', '.join(sorted(tops))}\) hold those of the classes"
        refused(tmp_path, f"{said} .*{within[0]}.*a folder per class on top.*in a CSV .*patient$")

    @pytest.mark.parametrize(
        "names",
        [
            ("train/images/1.jpg", "valid/images/2.jpg", "test/images/3.jpg"),
            ("train/1.jpg", "train/2.jpg", "test/3.jpg"),
            ("train2017/1.jpg", "Val2017/2.jpg"),
            ("fold1/1.jpg", "fold2/2.jpg"),
            ("images/1.jpg", "masks/1.png"),
            ("images_part1/1.jpg", "images_part2/2.jpg"),
            ("train_images/1.jpg", "images_2/2.jpg"),
        ],
    )
    def test_parts_of_a_data_set_are_no_classes(self, tmp_path, names):
        """As the exports of detectors' tools and of contests have them."""
        for name in names:
            image(tmp_path / name)
        tops = ", ".join(sorted({name.split("/")[0] for name in names}))
        refused(tmp_path, rf"its folders \({tops}\) are named for no classes; .*in a CSV")
        (tmp_path / "notes.csv").write_text("id,note\n")
        refused(tmp_path, "are named for no classes")
        rows = "".join(f"{name},{n % 2}\n" for n, name in enumerate(names))
        (tmp_path / "labels.csv").write_text(f"path,label\n{rows}")
        assert [record.id for record in load_index(tmp_path).records] == sorted(names)

    def test_views_within_classes_are_no_classes(self, tmp_path):
        for number in range(5):
            for view in ("AP", "lateral"):
                image(tmp_path / ("normal", "fractured")[number % 2] / view / f"{number}.png")
        assert load_index(tmp_path).classes == ("normal", "fractured")

    def test_patients_above_classes_that_tell_of_a_fracture_are_the_groups(self, tmp_path):
        names = ("p1/Fractured/1", "p1/normal/1", "p2/fractured/left/1", "p3/normal/1", "loose")
        for name in names:
            image(tmp_path / f"{name}.png")
        (tmp_path / "docs").mkdir()
        (tmp_path / "p3" / "fractured").mkdir()
        index = load_index(tmp_path)
        assert index.counts() == {"normal": 2, "fractured": 2}
        assert [(record.id, record.group) for record in index.records] == [
            ("p1/Fractured/1.png", "p1"),
            ("p1/normal/1.png", "p1"),
            ("p2/fractured/left/1.png", "p2"),
            ("p3/normal/1.png", "p3"),
        ]
        assert ids_of(index, "empty_folder") == {"docs", "p3/fractured"}
        assert ids_of(index, "unlisted_file") == {"loose.png"}

    @pytest.mark.parametrize("other", ["p0/2.png", "p4/AP/2.png", "p5/2.png"])
    def test_what_else_lies_in_a_patients_folder_has_no_class(self, tmp_path, other):
        for number in range(5):
            image(tmp_path / f"p{number}" / ("normal", "Fracture")[number % 2] / "1.png")
        assert {record.group for record in load_index(tmp_path).records} == {
            f"p{n}" for n in range(5)
        }
        image(tmp_path / other)
        refused(tmp_path, r"\(p0, p1, p2, …\) hold those of the classes \(Fracture, normal\)")

    def test_more_radiographs_than_a_patient_has_are_no_patients(self, tmp_path):
        for number in range(41):
            for name in ("a/normal", "a/fractured", "b/normal"):
                image(tmp_path / name / f"{number}.png")
        refused(tmp_path, r"\(a, b\) hold those of the classes")

    def test_patients_within_classes_in_images_are_the_groups(self, tmp_path):
        """Without a table or masks nothing says that it is FracAtlas, whose names tell files."""
        for number in range(6):
            folder = tmp_path / "images" / ("normal", "fractured")[number % 2] / f"p{number // 2}"
            for film in range(2):
                image(folder / f"{film}.png")
        (tmp_path / "split.csv").write_text("image_id,group,split,fold,excluded_because\n")
        index = load_index(tmp_path)
        assert (index.kind, index.defects) == ("folders", ())
        assert index.counts() == {"normal": 6, "fractured": 6}
        assert index.by_id["fractured/p0/1.png"].group == index.by_id["normal/p0/0.png"].group
        assert {record.group for record in index.records} == {"p0", "p1", "p2"}
        assert load_index(tmp_path / "images") == index

    def test_the_caller_names_the_negative_class(self, tmp_path):
        for name in ("clear", "broken", "cracked"):
            image(tmp_path / name / "1.png")
        assert load_index(tmp_path).negative is None
        index = load_index(tmp_path, negative="Cracked")
        assert (index.classes, index.negative) == (("cracked", "broken", "clear"), 0)
        refused(tmp_path, "no class 'craked'.*did you mean 'cracked'", negative="craked")

    def test_links_in_a_circle_come_to_an_end(self, tmp_path):
        image(tmp_path / "a" / "1.png")
        image(tmp_path / "b" / "2.png")
        (tmp_path / "a" / "up").symlink_to(tmp_path / "a", target_is_directory=True)
        (tmp_path / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
        index = load_index(tmp_path)
        assert [record.id for record in index.records] == ["a/1.png", "b/2.png"]
        assert ids_of(index, "missing_file") == {"b/gone.png"}

    def test_a_name_that_is_no_text_is_left_out_and_told(self, tmp_path):
        image(tmp_path / "a" / "1.png")
        image(tmp_path / "b" / "2.png")
        try:
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.png")).write_bytes(b"x")
        except OSError:
            pytest.skip("this file system takes only names in UTF-8")
        index = load_index(tmp_path)
        assert len(index.records) == 2
        assert kinds(index) == {"odd_name": 1}

    def test_blanks_at_the_end_of_a_class_are_no_part_of_it_those_before_it_are_refused(
        self, tmp_path
    ):
        """Tables keep no blank at the beginning of an id."""
        for name in ("normal /1.png", "normal/2.png", "fractured /3.png"):
            image(tmp_path / name)
        index = load_index(tmp_path)
        assert index.counts() == {"normal": 2, "fractured": 1}
        write_index(index, tmp_path / "saved.csv")
        assert load_index(tmp_path / "saved.csv").records == index.records
        image(tmp_path / " normal" / "1.png")
        refused(tmp_path, "/ normal': the folder's name begins with a blank; rename it")

    def test_one_class_is_refused(self, tmp_path):
        image(tmp_path / "fractured" / "1.png")
        refused(tmp_path, "only the class 'fractured'.*at least two classes")

    def test_a_folder_without_permission_is_refused(self, tmp_path, monkeypatch):
        image(tmp_path / "a" / "1.png")
        image(tmp_path / "b" / "2.png")
        (tmp_path / "b").chmod(0)
        if os.access(tmp_path / "b", os.R_OK):  # the superuser may read everything
            listed = os.scandir

            def scandir(path):
                if Path(path).name == "b":
                    raise PermissionError(13, "Permission denied")
                return listed(path)

            monkeypatch.setattr(os, "scandir", scandir)
        refused(tmp_path, r"b: cannot be listed \(Permission denied\); check its permissions")
