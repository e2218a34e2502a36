"""A settings file as editors write it."""

from kirik.cli import run


def test_a_byte_order_mark_is_no_flaw(tmp_path, capsys):
    file = tmp_path / "s.toml"
    file.write_text("epochs = 0\n", encoding="utf-8-sig")
    words = ["train", str(tmp_path), "--split", "fracatlas-v1", "--settings", str(file)]
    assert run(words) == 2
    assert f"{file}: epochs: must be 1 or more, not 0" in capsys.readouterr().err
