"""FracAtlas becomes an index, and what is wrong with a copy of it is said."""

import json
from pathlib import Path

import numpy as np
import pytest
from data_sets import coco, edit, ids_of, image, kinds, refused
from PIL import Image

from kirik.dataset.sources import load_index
from kirik.orientation import to_stored_box, to_upright, to_upright_box, turn_stored
from kirik.radiograph import read_radiograph

FRACATLAS = Path(__file__).parents[3] / "shared" / "fracatlas"


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
        within, beyond = [1, 2, 5, 6], [40, 20, 4, 4]
        coco(fracatlas, {"IMG0000001.jpg": [within, beyond], "IMG0000003.dcm": [beyond]})
        index = load_index(fracatlas)
        assert [index.by_id[f"IMG000000{n}"].boxes for n in ("1.jpg", "3.dcm")] == [
            (tuple(within),),
            (),
        ]
        assert [len(record.polygons) for record in index.records] == [0, 1, 0, 0]
        assert ids_of(index, "box_beyond_image") == {"IMG0000001.jpg", "IMG0000003.dcm"}
        told = {d.detail for d in index.defects if d.kind == "box_beyond_image"}
        assert told == {"[40, 20, 4, 4] / 40×30"}

    def test_annotations_of_another_size_than_the_files_are_told_and_left_out(self, fracatlas):
        """As where radiographs were resized, and their annotations were not."""
        found = {"IMG0000001.jpg": [[1, 2, 5, 6]] * 2, "IMG0000003.dcm": [[0, 0, 9, 9]]}
        coco(fracatlas, found, (90, 80))
        index = load_index(fracatlas)
        assert kinds(index) == {"annotation_of_other_size": 2}
        assert {d.detail for d in index.defects} == {"drawn on 90×80; the file has 40×30"}
        assert all(record.boxes == record.polygons == () for record in index.records)
        for size in ((40, 30), (30, 40), (41, 30), (0, 0)):  # turned, rounded, unknown
            coco(fracatlas, found, size)
            index = load_index(fracatlas)
            assert "annotation_of_other_size" not in kinds(index)
            assert all(bool(record.boxes) == record.label for record in index.records)

    @pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
    @pytest.mark.parametrize("turn", [5, 6, 7, 8])
    def test_what_was_drawn_on_an_upright_radiograph_lies_on_it_as_stored(
        self, fracatlas, suffix, turn
    ):
        """Tools that heed EXIF's turn say the sides of what they show."""
        upright, box = np.zeros((40, 30), np.uint8), [20, 4, 6, 8]
        upright[4:12, 20:26] = 255
        path = fracatlas / "images" / "Fractured" / f"IMG0000001.{suffix}"
        stored = Image.fromarray(np.ascontiguousarray(turn_stored(upright, turn)))
        exif = stored.getexif()
        exif[0x0112] = turn
        stored.save(path, exif=exif)
        for drawn, size in ((box, (30, 40)), (to_stored_box(box, turn, (30, 40)), (40, 30))):
            coco(fracatlas, {path.name: [list(map(float, drawn))]}, size)
            record = load_index(fracatlas).by_id[path.name]
            radiograph = read_radiograph(record.path)
            place = radiograph.orientation, radiograph.stored_size
            assert np.allclose(to_upright_box(record.boxes, *place), [box])
            x, y = to_upright(np.reshape(record.polygons, (-1, 2)), *place).T
            assert (min(x), min(y), max(x), max(y)) == (20, 4, 26, 12)

    @pytest.mark.parametrize("folder", ["Fractured/", "images\\\\Fractured\\\\"])
    def test_names_with_folders_are_the_files_own(self, fracatlas, folder):
        index = load_index(fracatlas)
        path = fracatlas / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
        edit(path, '"IMG', f'"{folder}IMG')
        assert load_index(fracatlas) == index

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
            (
                '{"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}], '
                '"annotations": []}',
                r"images a\.png and b\.png have one `id` \(1\)",
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

    def test_columns_of_patients_and_exams_bind(self, fracatlas):
        table = fracatlas / "dataset.csv"
        head, *rows = table.read_text().splitlines()
        ids = ("p1,e1", "p2,e1", "p1,e2", "NA,")
        rows = [f"{row},{own}" for row, own in zip(rows, ids, strict=True)]
        table.write_text("\n".join([f"{head},patient,exam", *rows]) + "\n")
        index = load_index(fracatlas)
        first, other, again, nobody = (record.group for record in index.records)
        assert first == again != other
        assert (index.defects, nobody) == ((), None)

    def test_folders_of_patients_within_its_classes_bind(self, fracatlas):
        images = fracatlas / "images"
        for name in ("Fractured/IMG0000001.jpg", "Non_fractured/IMG0000000.jpg"):
            (images / name).parent.joinpath("p1").mkdir()
            (images / name).rename((images / name).parent / "p1" / Path(name).name)
        groups = {record.id: record.group for record in load_index(fracatlas).records}
        assert groups == {
            "IMG0000000.jpg": "p1",
            "IMG0000001.jpg": "p1",
            "IMG0000002.png": None,
            "IMG0000003.dcm": None,
        }

    @pytest.mark.parametrize("head", ["path,label,patient", "image_id,path,fractured,patient"])
    def test_a_dataset_csv_of_one_s_own_beside_images_is_a_table_like_any_other(
        self, tmp_path, head
    ):
        for number in range(4):
            image(tmp_path / "images" / f"{number}.png")
        rows = [f"images/{n}.png,{n % 2},p{n // 2}" for n in range(4)]
        if "image_id" in head:
            rows = [f"{n},{row}" for n, row in enumerate(rows)]
        (tmp_path / "dataset.csv").write_text("\n".join([head, *rows]) + "\n")
        index = load_index(tmp_path)
        assert (index.kind, index.defects) == ("csv", ())
        assert [record.group for record in index.records] == ["p0", "p0", "p1", "p1"]
        assert load_index(tmp_path / "dataset.csv") == index

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
