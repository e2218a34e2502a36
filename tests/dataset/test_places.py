"""Where something is to be written is judged before the work."""

from pathlib import Path

import pytest

from kirik.dataset.places import refuse_unwritable
from kirik.errors import OutputError


@pytest.mark.parametrize("option", ["file", "folder"])
def test_a_place_in_a_folder_that_may_not_be_entered_is_refused(tmp_path, monkeypatch, option):
    place = tmp_path / "closed" / "x.json"
    stat = Path.stat

    def closed(path, **options):
        if "closed" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    # As Python 3.11 to 3.13 look, whatever runs this, and whoever: root may enter everything.
    monkeypatch.setattr(Path, "stat", closed)
    for name in ("is_dir", "exists"):
        monkeypatch.setattr(Path, name, lambda path: bool(path.stat()))
    with pytest.raises(OutputError, match=r"x\.json: cannot be looked at \(Permission denied\)"):
        refuse_unwritable(place) if option == "file" else refuse_unwritable(folder=place)
