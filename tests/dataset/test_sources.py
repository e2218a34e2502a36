"""Every kind of data set becomes the same index, and what is wrong with one is said."""

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom.helpers import content_of, dicom
from kirik.dataset.audit import audit
from kirik.dataset.index import Index
from kirik.dataset.sources import load_index, write_index
from kirik.errors import DataSetError

FRACATLAS = Path(__file__).parents[3] / "shared" / "fracatlas"
HEADER = (
    "image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,"
    "frontal,lateral,oblique"
)


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 30)).save(path, "PNG")
    return path


def coco(root: Path, annotations: dict[str, list[list[float]]], size: tuple[int, int] = (40, 30)):
    """Write a COCO file: boxes by file name, each with its outline."""
    images = [
        {"id": i, "file_name": name, "width": size[0], "height": size[1]}
        for i, name in enumerate(annotations)
    ]
    boxes = [
        {
            "id": 10 * i + j,
            "image_id": i,
            "category_id": 0,
            "bbox": box,
            "segmentation": [[box[0], box[1], box[0] + box[2], box[1], box[0], box[1] + box[3]]],
        }
        for i, found in enumerate(annotations.values())
        for j, box in enumerate(found)
    ]
    path = root / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": boxes}))


@pytest.fixture
def fracatlas(tmp_path: Path) -> Path:
    """Four radiographs in FracAtlas's layout, without a defect."""
    for name in ("IMG0000001.jpg", "IMG0000003.dcm"):
        image(tmp_path / "images" / "Fractured" / name)
    for name in ("IMG0000000.jpg", "IMG0000002.png"):
        image(tmp_path / "images" / "Non_fractured" / name)
    rows = [
        "IMG0000000.jpg,1,0,0,0,0,0,0,0,0,1,0,0",
        "IMG0000001.jpg,1,0,0,1,1,1,1,1,2,1,1,0",
        "IMG0000002.png,0,1,0,0,0,0,0,0,0,0,0,1",
        "IMG0000003.dcm,0,0,1,0,0,0,0,1,1,1,0,0",
    ]
    (tmp_path / "dataset.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    coco(
        tmp_path,
        {"IMG0000001.jpg": [[1, 2, 5, 6], [20, 20, 4, 4]], "IMG0000003.dcm": [[0, 0, 40, 30]]},
    )
    return tmp_path


def kinds(index: Index) -> Counter:
    return Counter(defect.kind for defect in index.defects)


def ids_of(index: Index, kind: str) -> set[str]:
    return {i for defect in index.defects if defect.kind == kind for i in defect.ids}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(path: Path, match: str, **options) -> None:
    with pytest.raises(DataSetError, match=match) as caught:
        load_index(path, **options)
    assert "\n" not in str(caught.value)


class TestFracAtlas:
    def test_flags_boxes_and_outlines_become_records(self, fracatlas):
        index = load_index(fracatlas)
        assert (index.kind, index.classes, index.negative) == (
            "fracatlas",
            ("not_fractured", "fractured"),
            0,
        )
        assert index.defects == ()
        assert [record.id for record in index.records] == [
            "IMG0000000.jpg",
            "IMG0000001.jpg",
            "IMG0000002.png",
            "IMG0000003.dcm",
        ]
        record = index.by_id["IMG0000001.jpg"]
        assert record.label == 1
        assert (record.region, record.view) == (("hand", "shoulder"), ("frontal", "lateral"))
        assert (record.hardware, record.multiscan, record.group) == (True, True, None)
        assert record.boxes == ((1, 2, 5, 6), (20, 20, 4, 4))
        assert record.polygons[0] == (1, 2, 6, 2, 1, 8)
        assert record.path.read_bytes()
        assert index.by_id["IMG0000000.jpg"].hardware is False

    def test_its_own_table_leads_to_it(self, fracatlas):
        assert load_index(fracatlas / "dataset.csv") == load_index(fracatlas)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("IMG0000001.jpg,1,0,0,1,1,1,1,1,2", "IMG0000001.jpg,1,0,0,1,1,1,1,0,2"),
            ("IMG0000001.jpg,1,0,0,1,1,1,1,1,2", "IMG0000001.jpg,1,0,0,1,1,1,1,1,3"),
            ("IMG0000001.jpg,1,0,0,1,1,1,1,1,2", "IMG0000001.jpg,1,0,0,1,1,1,1,1,0"),
        ],
    )
    def test_the_folder_wins_where_the_table_disagrees(self, fracatlas, old, new):
        edit(fracatlas / "dataset.csv", old, new)
        index = load_index(fracatlas)
        assert index.by_id["IMG0000001.jpg"].label == 1
        assert kinds(index) == {"label_disagreement": 1}
        assert ids_of(index, "label_disagreement") == {"IMG0000001.jpg"}

    def test_a_mask_on_a_normal_radiograph_is_a_disagreement(self, fracatlas):
        coco(fracatlas, {"IMG0000000.jpg": [[1, 1, 3, 3]], "IMG0000001.jpg": [[1, 2, 5, 6]] * 2})
        index = load_index(fracatlas)
        assert ids_of(index, "label_disagreement") == {"IMG0000000.jpg", "IMG0000003.dcm"}
        assert index.by_id["IMG0000000.jpg"].label == 0

    def test_missing_unlisted_and_repeated_files_are_named(self, fracatlas):
        (fracatlas / "images" / "Fractured" / "IMG0000003.dcm").unlink()
        image(fracatlas / "images" / "Non_fractured" / "new.jpg")
        image(fracatlas / "images" / "stray.jpg")
        with (fracatlas / "dataset.csv").open("a") as table:
            table.write("IMG0000000.jpg,0,1,0,0,0,0,0,0,0,1,0,0\n")
        index = load_index(fracatlas)
        assert ids_of(index, "missing_file") == {"IMG0000003.dcm"}
        assert ids_of(index, "unlisted_file") == {"new.jpg", "images/stray.jpg"}
        assert ids_of(index, "duplicate_row") == {"IMG0000000.jpg"}
        assert index.by_id["IMG0000000.jpg"].region == ("hand",)
        assert index.by_id["new.jpg"].region == ()
        assert "IMG0000003.dcm" not in index.by_id

    def test_one_name_in_both_classes_has_no_label(self, fracatlas):
        image(fracatlas / "images" / "Fractured" / "IMG0000000.jpg")
        index = load_index(fracatlas)
        assert ids_of(index, "same_name_in_both_classes") == {"IMG0000000.jpg"}
        assert "IMG0000000.jpg" not in index.by_id
        assert "missing_file" not in kinds(index)

    def test_boxes_are_judged_by_the_annotations_own_image_size(self, fracatlas):
        coco(
            fracatlas,
            {
                "IMG0000001.jpg": [[1, 2, 5, 6], [30, 20, 10.6, 4]],
                "IMG0000003.dcm": [[0, 0, 40.0000001, 30]],
            },
        )
        index = load_index(fracatlas)
        assert ids_of(index, "box_outside_image") == {"IMG0000001.jpg"}
        assert len(index.by_id["IMG0000001.jpg"].boxes) == 2

    def test_a_box_without_an_outline_is_its_own_where_another_has_one(self, fracatlas):
        path = fracatlas / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
        document = json.loads(path.read_text())
        for annotation, own in zip(document["annotations"], (True, False, False), strict=True):
            annotation["segmentation"] = annotation["segmentation"] if own else []
        path.write_text(json.dumps(document))
        index = load_index(fracatlas)
        box = (20, 20, 24, 20, 24, 24, 20, 24)
        assert index.by_id["IMG0000001.jpg"].polygons == ((1, 2, 6, 2, 1, 8), box)
        assert index.by_id["IMG0000003.dcm"].polygons == ()  # its box says as much

    def test_boxes_wholly_outside_their_image_are_told_and_left_out(self, fracatlas):
        """Whatever size the annotations say that it has."""
        within, beyond = [1, 2, 5, 6], [40, 20, 4, 4]
        coco(fracatlas, {"IMG0000001.jpg": [within, beyond], "IMG0000003.dcm": [beyond]}, (90, 90))
        index = load_index(fracatlas)
        assert [index.by_id[f"IMG000000{n}"].boxes for n in ("1.jpg", "3.dcm")] == [
            (tuple(within),),
            (),
        ]
        assert [len(record.polygons) for record in index.records] == [0, 1, 0, 0]
        assert ids_of(index, "box_beyond_image") == {"IMG0000001.jpg", "IMG0000003.dcm"}
        assert {d.detail for d in index.defects} == {"[40, 20, 4, 4] / 40×30"}
        coco(fracatlas, {"IMG0000001.jpg": [within], "IMG0000003.dcm": [[39, 29, 4, 4]]}, (9, 9))
        assert all(len(r.boxes) == r.label for r in load_index(fracatlas).records)

    def test_a_number_too_large_is_no_place(self, fracatlas):
        path = fracatlas / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
        document = json.loads(path.read_text())
        document["annotations"][2] |= {"bbox": [10**400, 1, 2, 2], "segmentation": []}
        path.write_text(json.dumps(document))
        assert ids_of(load_index(fracatlas), "bad_annotation") == {"IMG0000003.dcm"}

    def test_a_file_whose_name_no_table_keeps_is_left_out_and_told(self, fracatlas):
        image(fracatlas / "images" / "Fractured" / " blank.png")
        index = load_index(fracatlas)
        assert kinds(index) == {"odd_name": 1}
        assert index.counts() == {"not_fractured": 2, "fractured": 2}

    def test_annotations_of_nothing_are_named(self, fracatlas):
        path = fracatlas / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
        document = json.loads(path.read_text())
        document["images"].append({"id": 77, "file_name": "gone.jpg", "width": 4, "height": 4})
        document["annotations"] += [
            {"id": 90, "image_id": 999, "bbox": [1, 1, 2, 2]},
            {"id": 91, "image_id": 0, "bbox": [1, 1, 0, 2], "segmentation": {"counts": "x"}},
        ]
        path.write_text(json.dumps(document))
        index = load_index(fracatlas)
        assert ids_of(index, "annotation_of_unknown_image") == {"gone.jpg", "999"}
        assert ids_of(index, "bad_annotation") == {"IMG0000001.jpg"}

    def test_without_masks_or_table_the_rest_is_read(self, fracatlas):
        (fracatlas / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json").unlink()
        index = load_index(fracatlas)
        assert kinds(index) == {"missing_annotations": 1}
        assert index.by_id["IMG0000001.jpg"].boxes == ()
        (fracatlas / "dataset.csv").unlink()
        index = load_index(fracatlas)
        assert kinds(index) == {"missing_annotations": 1, "missing_table": 1}
        assert index.counts() == {"not_fractured": 2, "fractured": 2}
        assert index.by_id["IMG0000001.jpg"].hardware is None

    def test_odd_columns_are_told_and_kept(self, fracatlas):
        rows = (fracatlas / "dataset.csv").read_text().replace("multiscan", "scanner")
        (fracatlas / "dataset.csv").write_text(rows)
        index = load_index(fracatlas)
        assert kinds(index) == {"missing_column": 1, "unknown_column": 1}
        assert index.by_id["IMG0000001.jpg"].facts == {"scanner": "1"}
        assert index.by_id["IMG0000001.jpg"].multiscan is None

    def test_a_table_that_says_nothing_is_refused(self, fracatlas):
        edit(fracatlas / "dataset.csv", "IMG0000002.png,0", "IMG0000002.png,maybe")
        refused(fracatlas, r"dataset\.csv, line 4: hand is 'maybe'; expected 0 or 1")
        edit(fracatlas / "dataset.csv", "image_id", "name")
        refused(fracatlas, "no column image_id")

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("{", "not JSON"),
            ("[]", "not a COCO file"),
            ('{"images": []}', "not a COCO file"),
            ('{"images": [{"id": 1}], "annotations": []}', "not a COCO file"),
            ('{"images": [], "annotations": [3]}', "not a COCO file"),
            *(
                (
                    f'{{"images": [{{"file_name": "a.png"{said}}}], "annotations": []}}',
                    r"COCO_fracture_masks\.json: image a\.png: its `id` is no number and no text",
                )
                for said in (', "id": [1]', ', "id": {}', ', "id": null', "")
            ),
            *(
                (
                    f'{{"images": [], "annotations": [{{"id": 7, "image_id": {said}}}]}}',
                    r"COCO_fracture_masks\.json: annotation 7: its `image_id` is no number",
                )
                for said in ("[1]", '{"a": 1}')
            ),
        ],
    )
    def test_masks_that_are_not_coco_are_refused(self, fracatlas, text, match):
        path = fracatlas / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
        path.write_text(text)
        refused(fracatlas, match)

    def test_one_class_is_refused(self, fracatlas):
        for path in (fracatlas / "images" / "Fractured").iterdir():
            path.unlink()
        refused(fracatlas, "only the class 'not_fractured'.*at least two")

    def test_a_table_beside_images_counts_where_it_lists_radiographs(self, fracatlas):
        (fracatlas / "dataset.csv").unlink()
        for name, columns in (
            ("split", "image_id,group,split,fold,excluded_because"),
            ("readings", "path,decision,probability,model"),
        ):
            (fracatlas / f"{name}.csv").write_text(columns + "\n")
            assert load_index(fracatlas).kind == "fracatlas"
        rows = [f"images/{path},{path[0]},p1" for path in ("Fractured/IMG0000001.jpg",
                "Non_fractured/IMG0000000.jpg")]  # fmt: skip
        (fracatlas / "data.csv").write_text("path,label,group\n" + "\n".join(rows) + "\n")
        index = load_index(fracatlas)
        assert (index.kind, {record.group for record in index.records}) == ("csv", {"p1"})

    def test_its_parent_is_answered_with_its_path(self, fracatlas, tmp_path_factory):
        parent = tmp_path_factory.mktemp("parent")
        fracatlas.rename(parent / "FracAtlas")
        refused(parent, "did you mean .*FracAtlas")

    @pytest.mark.real
    @pytest.mark.skipif(not FRACATLAS.is_dir(), reason="FracAtlas is not in ../shared/fracatlas")
    def test_the_real_one(self):
        index = load_index(FRACATLAS)
        assert len(index.records) >= 3280
        assert kinds(index)["label_disagreement"] == 1
        odd = index.by_id["IMG0003298.jpg"]
        assert (odd.label, len(odd.boxes)) == (1, 1)
        assert sum(len(record.boxes) for record in index.records) >= 734
        assert "box_outside_image" not in kinds(index)  # they pass the border by rounding alone


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
        for number in range(41):
            image(tmp_path / "fractured" / "all" / f"{number}.png")
        groups = {record.id: record.group for record in load_index(tmp_path).records}
        assert groups["normal/p1/s1/1.png"] == groups["normal/p1/s2/1.png"] == "p1"
        assert groups["fractured/p1/s1/2.png"] == "p1"  # one patient, whatever the class
        assert groups["normal/hand/p2/1.png"] == groups["normal/hand/p2/2.png"] == "hand/p2"
        for name in ("loose", "train/3", "AP/4", "XR_WRIST/left/5", "fold1/6"):
            assert groups[f"normal/{name}.png"] is None
        assert groups["fractured/all/3.png"] is None  # more than an exam may have

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
            (("patient0", "patient1"), ("fracture", "normal")),
            (("hand", "leg"), ("positive", "negative")),
            (("data",), ("fractured", "normal")),
        ],
    )
    def test_classes_within_other_folders_are_refused(self, tmp_path, tops, within):
        for top in tops:
            for name in within:
                image(tmp_path / top / name / f"{top}{name}.png")
        said = rf"its folders \({', '.join(sorted(tops))}\) hold those of the classes"
        refused(tmp_path, f"{said} .*{within[0]}.*a folder per class on top.*or list .* in a CSV")

    def test_patients_of_one_class_each_are_refused_and_views_are_not(self, tmp_path):
        for number in range(5):
            image(tmp_path / "a" / f"p{number}" / ("normal", "Fracture")[number % 2] / "1.png")
            for view in ("AP", "lateral"):
                image(tmp_path / "b" / ("normal", "fractured")[number % 2] / view / f"{number}.png")
        refused(tmp_path / "a", r"\(p0, p1, p2, …\) hold those of the classes \(Fracture, normal\)")
        assert load_index(tmp_path / "b").classes == ("normal", "fractured")

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
        assert [record.id for record in load_index(tmp_path).records] == ["a/1.png", "b/2.png"]

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


class TestNoDataSet:
    def test_each_is_answered_with_what_was_expected(self, tmp_path):
        expected = "expected FracAtlas .*a folder per class, or a CSV"
        refused(tmp_path / "nowhere", f"does not exist; {expected}")
        refused(tmp_path, f"no radiograph in it; {expected}")
        refused(image(tmp_path / "one.png"), f"is no data set; {expected}")
        refused(tmp_path, "no labels; put them in a folder per class, or list them in a CSV")

    def test_two_tables_are_answered_with_their_names(self, tmp_path):
        for name in ("a.csv", "b.csv"):
            (tmp_path / name).write_text("path,label\n")
        refused(tmp_path, "Give the path of one of a.csv, b.csv")


@pytest.fixture
def listed(tmp_path: Path):
    """Write images a.png … d.png and a CSV of the given text; its path is returned."""
    for name in "abcd":
        image(tmp_path / "files" / f"{name}.png")

    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write


class TestTable:
    def test_all_columns_are_read(self, listed):
        path = listed(
            "image_id,path,label,patient,study,region,view,hardware,boxes,x_site\n"
            "A,files/a.png,Fractured,p1,s1,Hand;upper arm,frontal,1,1 2 3 4; 5 6 7 8.5,Ankara\n"
            "B,files/b.png,normal,p1,s2,,,,,\n"
        )
        index = load_index(path)
        assert (index.kind, index.classes, index.negative) == ("csv", ("normal", "fractured"), 0)
        record = index.by_id["A"]
        assert (record.group, record.region, record.view) == (
            "p1",
            ("hand", "upper_arm"),
            ("frontal",),
        )
        assert record.boxes == ((1, 2, 3, 4), (5, 6, 7, 8.5))
        assert record.hardware is True
        assert record.facts == {"study": "s1", "site": "Ankara"}
        assert index.by_id["B"].hardware is None
        assert load_index(path.parent) == index

    def test_excels_csv_is_read(self, listed):
        text = "File;Class\nfiles\\a.png;kırık\nfiles\\b.png;sağlam\n;\n"
        index = load_index(listed(text, "utf-8-sig"))
        assert [record.id for record in index.records] == ["files/a.png", "files/b.png"]
        assert index.classes == ("sağlam", "kırık")

    def test_zero_and_one_mean_not_fractured_and_fractured(self, listed):
        index = load_index(listed("path,fractured\nfiles/a.png,1\nfiles/b.png,0\n"))
        assert index.classes == ("not_fractured", "fractured")
        assert index.by_id["files/a.png"].label == 1

    @pytest.mark.parametrize(
        "words",
        [
            *[("True", "False"), ("1.0", "0.0"), ("yes", "NO"), ("evet", "hayır")],
            *[("EVET", "HAYIR"), ("Evet", "Hayir"), ("var", "yok"), ("VAR", "YOK")],
        ],
    )
    def test_so_do_other_words_for_yes_and_no(self, listed, words):
        yes, no = words
        index = load_index(listed(f"path,fractured\nfiles/a.png,{yes}\nfiles/b.png,{no}\n"))
        assert (index.classes, index.negative) == (("not_fractured", "fractured"), 0)
        assert index.by_id["files/a.png"].label == 1

    def test_a_number_below_zero_is_a_class_of_its_own(self, listed):
        text = "path,fractured\nfiles/a.png,1\nfiles/b.png,-1\nfiles/c.png,0\n"
        index = load_index(listed(text))
        assert (index.classes, index.negative) == (("-1", "0", "1"), None)
        index = load_index(listed(text.replace(",1\n", ",0\n")))
        assert (index.classes, index.negative) == (("-1", "0"), None)

    def test_none_is_a_class_beside_another(self, listed):
        index = load_index(listed("path,label\nfiles/a.png,None\nfiles/b.png,fracture\n"))
        assert (index.classes, index.negative) == (("none", "fracture"), 0)

    def test_turkish_capitals_are_the_same_class(self, listed):
        text = "path,label\nfiles/a.png,Kırık\nfiles/b.png,KIRIK\nfiles/c.png,SAĞLAM\n"
        index = load_index(listed(text))
        assert index.classes == ("sağlam", "kırık")
        assert [record.label for record in index.records] == [1, 1, 0]

    @pytest.mark.parametrize(
        ("header", "ids", "expected"),
        [
            ("patient_id,exam_id", [",e1", ",e1", ",e2", ",e2"], [{"a", "b"}, {"c", "d"}]),
            ("patient,exam", ["p1,e1", ",e1", ",e2", "p2,e3"], [{"a", "b"}, {"c"}, {"d"}]),
            ("group,patient", ["g1,p1", "g2,p1", "g2,p2", "g3,p3"], [{"a", "b", "c"}, {"d"}]),
            ("patient,study", ["p1,1", "p1,2", "p2,1", "p2,1"], [{"a", "b"}, {"c", "d"}]),
            ("patient,study", ["p1,1", ",2", "p2,1", ",2"], [{"a"}, {"b", "d"}, {"c"}]),
            ("patient", ["p1", "p1", "p2", ""], [{"a", "b"}, {"c"}]),
            ("patient", ["NA", "NA", "p2", "p2"], [{"c", "d"}]),
            ("patient", ["unknown", "Unknown", "0", "0"], [{"c", "d"}]),
            ("patient,exam", ["nan,e1", "nan,e1", "nan,e2", "?,e2"], [{"a", "b"}, {"c", "d"}]),
            ("patient,exam", ["p1,none", "p1,-", "None,null", "N/A,-"], [{"a", "b"}]),
        ],
    )
    def test_all_columns_of_ids_bind(self, listed, header, ids, expected):
        rows = zip("abcd", ("f", "normal", "f", "normal"), ids, strict=True)
        text = "".join(f"files/{name}.png,{label},{own}\n" for name, label, own in rows)
        found: dict[str, set[str]] = {}
        for record in load_index(listed(f"path,label,{header}\n{text}")).records:
            if record.group is not None:
                found.setdefault(record.group, set()).add(record.path.stem)
        assert sorted(map(sorted, found.values())) == sorted(map(sorted, expected))

    def test_a_box_of_no_size_is_told_and_zeros_are_none(self, listed):
        head = "path,label,x,y,width,height\n"
        none = load_index(listed(f"{head}files/a.png,f,0,0,0,0\nfiles/b.png,normal,,,,\n"))
        assert none.by_id["files/a.png"].boxes == ()
        path = listed(f"{head}files/a.png,f,10,10,0,5\nfiles/b.png,normal,,,,\n")
        refused(path, "line 2: boxes holds '10 10 0 5'.*width and a height above 0")

    def test_boxes_wholly_outside_a_dicom_file_are_left_out(self, listed, tmp_path):
        content = content_of(dicom(np.zeros((30, 40), np.uint16)))
        (tmp_path / "files" / "film.dcm").write_bytes(content)
        (tmp_path / "files" / "cut.png").write_bytes(b"no header")
        index = load_index(
            listed(
                "path,label,boxes\nfiles/film.dcm,f,35 2 50 4; 1 30 9 9; -9 1 9 9\n"
                "files/cut.png,f,900 900 1 1\nfiles/b.png,normal,\n"
            )
        )
        assert index.by_id["files/film.dcm"].boxes == ((35, 2, 50, 4),)
        assert index.by_id["files/cut.png"].boxes == ((900, 900, 1, 1),)
        assert kinds(index) == {"box_beyond_image": 2}
        told = {one.kind: one.ids for one in audit(index, workers=0).findings}
        assert told["box_beyond_image"] == ("files/film.dcm",)

    def test_what_pandas_and_turks_write_is_read(self, listed):
        path = listed(
            "path,label,hardware,multiscan,boxes,polygons\n"
            "files/a.png,f,1.0,evet,nan,nan\nfiles/b.png,normal,0.0,HAYIR,NaN,\n"
            "files/c.png,f,nan,unknown,1 2 3 4,\n"
        )
        index = load_index(path)
        said = [(r.hardware, r.multiscan, r.boxes, r.polygons) for r in index.records]
        one = ((1, 2, 3, 4),)
        assert said == [(True, True, (), ()), (False, False, (), ()), (None, None, one, ())]
        head = "path,label,x,y,width,height\n"
        none = load_index(listed(f"{head}files/a.png,f,nan,nan,nan,nan\nfiles/b.png,normal,,,,\n"))
        assert none.by_id["files/a.png"].boxes == ()

    def test_one_row_a_box_makes_one_record(self, listed):
        index = load_index(
            listed(
                "path,label,x,y,width,height\nfiles/a.png,f,1,2,3,4\nfiles/a.png,f,5,6,7,8\n"
                "files/b.png,normal,,,,\n"
            )
        )
        assert index.by_id["files/a.png"].boxes == ((1, 2, 3, 4), (5, 6, 7, 8))
        assert index.defects == ()

    def test_a_box_in_two_rows_is_one_fracture(self, listed):
        again = "files/a.png,f,1,2,3,4\n"
        index = load_index(
            listed(
                f"path,label,x,y,width,height\n{again}files/a.png,f,5,6,7,8\n{again}"
                "files/b.png,normal,,,,\n"
            )
        )
        assert index.by_id["files/a.png"].boxes == ((1, 2, 3, 4), (5, 6, 7, 8))
        assert [defect.kind for defect in index.defects] == ["duplicate_row"]

    def test_rows_that_cannot_be_records_are_defects(self, listed):
        path = listed(
            "path,label\nfiles/a.png,f\nfiles/a.png,f\nfiles/b.png,normal\nfiles/c.png,f\n"
            "files/c.png,normal\nfiles/gone.png,f\nlabels.csv,f\nfiles,f\n"
        )
        index = load_index(path)
        assert [record.id for record in index.records] == ["files/a.png", "files/b.png"]
        assert ids_of(index, "duplicate_row") == {"files/a.png"}
        assert ids_of(index, "label_disagreement") == {"files/c.png"}
        assert ids_of(index, "missing_file") == {"files/gone.png", "files"}
        assert ids_of(index, "not_an_image") == {"labels.csv"}

    def test_paths_may_lead_elsewhere(self, listed, tmp_path_factory):
        other = image(tmp_path_factory.mktemp("archive") / "e.png")
        text = f"path,label\n{other},f\nfiles/../files/a.png,normal\n"
        index = load_index(listed(text))
        assert all(record.path.is_file() for record in index.records)
        assert str(other) in index.by_id

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("path,lable\nfiles/a.png,f\n", "unknown column 'lable'; did you mean 'label'.*x_"),
            ("path,label,label\n", "column 'label' appears more than once"),
            ("path,file,label\n", "columns path and file mean the same"),
            ("path,region\nfiles/a.png,hand\n", "no column label"),
            ("label,region\nf,hand\n", "no column path"),
            ("path,label\nfiles/a.png,\n", "line 2: label is empty"),
            ("path,label\n,f\n", "line 2: path is empty"),
            ("path,label\nfiles/a.png,nan\n", "line 2: label is 'nan', which says nothing"),
            ("path,label\nfiles/a.png,f\nfiles/b.png, N/A\n", "line 3: label is 'N/A', which says"),
            ("path,label\nfiles/a.png,f,3,4\n", "line 2: 4 cells for 2 columns"),
            ("path,label,hardware\nfiles/a.png,f,perhaps\n", "line 2: hardware is 'perhaps'"),
            ("path,label,boxes\nfiles/a.png,f,1 2 3\n", "line 2: boxes holds '1 2 3'"),
            ("path,label,boxes\nfiles/a.png,f,1 2 0 4\n", "line 2: boxes holds"),
            ("path,label,boxes\nfiles/a.png,f,1 2 nan 4\n", "line 2: boxes holds"),
            ("path,label,boxes\nfiles/a.png,f,a b c d\n", "line 2: boxes holds"),
            ("path,label,x,y,width,height\nfiles/a.png,f,1,2,,4\n", "needs all of x, y, width"),
            ("path,label\nfiles/a.png,f\nfiles/b.png,f\n", "only the class 'f'"),
            ("path,label\nfiles/gone.png,f\nfiles/gone2.png,g\n", "no class has radiographs"),
            ('path,label\n"files/a.png,f\n', "not a CSV table"),
            ("", "the table is empty"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_in_one_line(self, listed, text, match):
        refused(listed(text), match)

    def test_a_table_in_another_encoding_is_refused(self, listed):
        refused(listed("path,label\nfiles/a.png,kırık\n", "cp1254"), "not UTF-8.*'CSV UTF-8'")


class TestWritten:
    def test_fracatlas_comes_back_as_it_was(self, fracatlas):
        index = load_index(fracatlas)
        write_index(index, fracatlas / "saved.csv")
        again = load_index(fracatlas / "saved.csv")
        assert again.records == index.records
        assert (again.classes, again.negative) == (index.classes, index.negative)

    @pytest.mark.parametrize("names", [("no", "yes"), ("hayır", "evet"), ("0", "1")])
    def test_classes_that_say_yes_and_no_keep_their_names(self, tmp_path, names):
        for name in names:
            image(tmp_path / name / "1.png")
        index = load_index(tmp_path)
        write_index(index, tmp_path / "saved.csv")
        again = load_index(tmp_path / "saved.csv")
        assert (again.classes, again.negative) == (index.classes, 0)
        assert again.records == index.records

    def test_a_table_comes_back_from_another_folder(self, listed, tmp_path_factory):
        path = listed(
            "path,label,exam,region,view,multiscan,boxes,polygons,x_note\n"
            'files/a.png,oblique,e1,hand+leg,frontal,0,0.1 2 3 4,1 2 3 4 5 6.25,"a, ""b"""\n'
            "files/b.png,spiral,,,,,,,\nfiles/c.png,healthy,e2,,,1,,,\n"
        )
        index = load_index(path)
        saved = tmp_path_factory.mktemp("elsewhere") / "index.csv"
        write_index(index, saved)
        assert load_index(saved).records == index.records
        assert [p.name for p in saved.parent.iterdir()] == ["index.csv"]

    def test_an_outline_of_ten_thousand_points_comes_back(self, fracatlas):
        index = load_index(fracatlas)
        outline = tuple(number / 3 for number in range(20_000))
        records = (replace(index.records[1], polygons=(outline,)), index.records[0])
        write_index(replace(index, records=records), fracatlas / "saved.csv")
        again = load_index(fracatlas / "saved.csv")
        assert again.by_id[records[0].id].polygons == (outline,)

    def test_a_place_that_cannot_be_written_is_refused(self, fracatlas):
        index = load_index(fracatlas)
        with pytest.raises(DataSetError, match="cannot be written"):
            write_index(index, fracatlas / "nowhere" / "index.csv")
