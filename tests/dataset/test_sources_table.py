"""A CSV becomes an index, and what is wrong with one is said in one line."""

import unicodedata

import numpy as np
import pytest
from data_sets import ids_of, image, kinds, refused

from dicom.helpers import content_of, dicom
from kirik.dataset.audit import audit
from kirik.dataset.sources import load_index


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

    @pytest.mark.parametrize(
        "text",
        [
            "path;label;\nfiles/a.png;1;\nfiles/b.png;0;\n",
            "path;label;;\nfiles/a.png;1;;\nfiles/b.png;0\n",
            ";path;label\n;files/a.png;1\n;files/b.png;0\n",
            "\r\npath;label\r\nfiles/a.png;1\r\nfiles/b.png;0\r\n",
        ],
    )
    def test_columns_and_lines_that_hold_nothing_are_passed_over(self, listed, text):
        index = load_index(listed(text))
        assert [(record.id, record.label) for record in index.records] == [
            ("files/a.png", 1),
            ("files/b.png", 0),
        ]

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
        boxes = text.replace("label\n", "label,boxes\n") + "files/a.png,KIRIK,1 2 3 4\n"
        again = load_index(listed(boxes.replace("ık\n", "ık,5 6 7 8\n")))
        assert again.by_id["files/a.png"].boxes == ((5, 6, 7, 8), (1, 2, 3, 4))
        assert again.defects == ()

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

    def test_outlines_have_boxes_unless_these_are_given(self, listed):
        head = "path,label,polygons,boxes\n"
        two = "1 2 5 2 5 8; 10 10 14 10 12 16"
        index = load_index(
            listed(
                f"{head}files/a.png,f,{two},\nfiles/b.png,normal,,\nfiles/c.png,f,{two},1 2 3 4\n"
            )
        )
        assert index.by_id["files/a.png"].boxes == ((1, 2, 4, 6), (10, 10, 4, 6))
        assert index.by_id["files/c.png"].boxes == ((1, 2, 3, 4),)
        first, second = two.split(";")
        rows = f"files/a.png,f,{first},\nfiles/a.png,f,{second},\nfiles/b.png,normal,,\n"
        merged = load_index(listed(head + rows))
        assert merged.by_id["files/a.png"].polygons == index.by_id["files/a.png"].polygons
        assert merged.by_id["files/a.png"].boxes == index.by_id["files/a.png"].boxes
        assert merged.defects == ()

    def test_a_box_without_an_outline_is_its_own_where_another_row_has_one(self, listed):
        head = "path,label,boxes,polygons\n"
        rows = (",1 1 9 2 9 9 1 9", "5 5 2 2,", "7 7 1 1,7 7 8 7 8 8", "7 7 1 1,")
        corners = (5, 5, 7, 5, 7, 7, 5, 7)
        outlines = {(1, 1, 9, 2, 9, 9, 1, 9), corners, (7, 7, 8, 7, 8, 8)}
        for order in (rows, rows[::-1]):
            own = "".join(f"files/a.png,f,{row}\n" for row in order)
            text = f"{head}{own}files/b.png,normal,,\nfiles/c.png,f,5 5 2 2,\n"
            index = load_index(listed(text))
            record = index.by_id["files/a.png"]
            assert set(record.polygons) == outlines
            assert len(record.boxes) == len(record.polygons) == 3
            assert index.by_id["files/c.png"].polygons == ()  # its box says as much

    def test_rows_of_boxes_may_differ_in_columns_of_one_s_own(self, listed):
        head = "path,label,region,boxes,x_confidence\n"
        rows = "files/a.png,f,hand,1 2 3 4,0.9\nfiles/a.png,f,hand,5 6 7 8,0.8\n"
        index = load_index(listed(f"{head}{rows}files/b.png,normal,,,\n"))
        record = index.by_id["files/a.png"]
        assert (record.boxes, record.facts) == (
            ((1, 2, 3, 4), (5, 6, 7, 8)),
            {"confidence": "0.9"},
        )
        assert index.defects == ()
        rows = rows.replace("hand,5", "leg,5")
        index = load_index(listed(f"{head}{rows}files/b.png,normal,,,\n"))
        assert [defect.detail for defect in index.defects] == [
            "line 3 names it again, with another region; the first row counts, and what this one "
            "outlines is left out"
        ]

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

    @pytest.mark.parametrize(("stored", "typed"), [("NFD", "NFC"), ("NFC", "NFD")])
    def test_letters_with_marks_are_found_however_the_disk_has_them(
        self, listed, tmp_path, stored, typed
    ):
        image(tmp_path / unicodedata.normalize(stored, "sağlam/şule.png"))
        text = "path,label\nsağlam/şule.png,0\nfiles/a.png,1\n"
        path = listed(unicodedata.normalize(typed, text))
        index = load_index(path)
        assert index.defects == ()
        assert all(record.path.is_file() for record in index.records)

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
            (",path,label\n0,files/a.png,f\n", "a column has no name; name it, or remove it"),
            ("path,,label\nfiles/a.png,4,f\n", "a column has no name"),
            ("path,label\nfiles/a.png,f,3,4\n", "line 2: 4 cells for 2 columns"),
            ("path,label,hardware\nfiles/a.png,f,perhaps\n", "line 2: hardware is 'perhaps'"),
            ("path,label,boxes\nfiles/a.png,f,1 2 3\n", "line 2: boxes holds '1 2 3'"),
            ("path,label,boxes\nfiles/a.png,f,1 2 0 4\n", "line 2: boxes holds"),
            ("path,label,boxes\nfiles/a.png,f,1 2 nan 4\n", "line 2: boxes holds"),
            ("path,label,boxes\nfiles/a.png,f,a b c d\n", "line 2: boxes holds"),
            (
                "path;label;x;y;width;height\nfiles/a.png;f;1,5;2;3;4\n",
                "holds '1,5 2 .* a point; …",
            ),
            ("path,label,x,y,width,height\nfiles/a.png,f,1,2,,4\n", "needs all of x, y, width"),
            ("path,label\nfiles/a.png,f\nfiles/b.png,f\n", "only the class 'f'"),
            (
                "path,label\nfiles/gone.png,f\nfiles/gone2.png,g\n",
                "no class has radiographs.*2 files were left out; first: files/gone.png .line 2",
            ),
            (
                "path,label\nfiles/a.png,f\nfiles/gone.png,g\n",
                "'f' has.*1 file was left out: files/go",
            ),
            ('path,label\n"files/a.png,f\n', "not a CSV table"),
            ("", "the table is empty"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_in_one_line(self, listed, text, match):
        refused(listed(text), match)

    def test_a_table_in_another_encoding_is_refused(self, listed):
        refused(listed("path,label\nfiles/a.png,kırık\n", "cp1254"), "not UTF-8.*'CSV UTF-8'")


def test_a_class_whose_name_no_model_can_hold_is_refused_at_once(listed):
    long = "transverse fracture of " + 100 * "x"
    path = listed(f"path,label\nfiles/a.png,normal\nfiles/b.png,{long}\n")
    refused(path, "a class's name of 123 letters")
