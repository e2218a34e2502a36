"""What is no data set is answered with what was expected, and any index is written as a CSV."""

from dataclasses import replace

import pytest
from data_sets import image, refused

from kirik.dataset.sources import load_index, write_index
from kirik.errors import DataSetError


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
