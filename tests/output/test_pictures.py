import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from PIL import Image

from a_reading import reading_of
from kirik.errors import OutputError, RadiographError
from kirik.output import pictures
from kirik.output.pictures import overlay_names, overlay_writer, write_overlay
from kirik.reading.reading import Failure


def test_files_of_one_name_get_pictures_of_their_own():
    paths = ["a/film.png", "b/film.png", "b/FILM.jpg", "b/other.png"]
    names = overlay_names(paths)
    assert len({name.casefold() for name in names.values()}) == 4
    assert names["b/other.png"] == "other.overlay.png"
    assert overlay_names(paths[::-1]) == names


def test_a_frame_has_no_picture_of_another_files_name(tmp_path):
    paths = ["a/hand.tif", "a/hand-1.png", "b/wrist-2.dcm", "b/film", "b/film-3.overlay.png"]
    names = overlay_names(paths)
    frames = [*(f"hand-{n}.overlay.png" for n in (1, 2)), "film-3.overlay.png"]
    assert not {*frames} & {*names.values()}
    assert names["a/hand.tif"] == "hand.overlay.png"
    assert names["b/wrist-2.dcm"] == "wrist-2.overlay.png"
    assert names["b/film"] != "film.overlay.png"  # its third frame's would be an input's


def test_pictures_beside_their_radiographs_leave_them_as_they_are(save_radiograph):
    paths = [save_radiograph("x/film.png", 0.5), save_radiograph("x/film.overlay.png", 0.6)]
    before = [path.read_bytes() for path in paths]
    with overlay_writer(paths[0].parent, overlay_names(paths)) as write:
        for path in paths:
            write(reading_of(path))
        write(Failure("x/bad.png", "bad", "bad"))
    assert [path.read_bytes() for path in paths] == before
    assert len(list(paths[0].parent.iterdir())) == 4


@pytest.mark.parametrize("when", ["saved", "about to get its place"])
@pytest.mark.parametrize("other", ["a/film.png", "b/film.png"])
def test_two_runs_draw_into_one_folder_at_the_same_time(
    save_radiograph, tmp_path, monkeypatch, when, other
):
    one, other = save_radiograph("a/film.png", 0.2), save_radiograph(other, 0.9)
    folder, save, link = tmp_path / "pictures", Image.Image.save, os.link
    with ExitStack() as held:
        writers = [
            held.enter_context(overlay_writer(folder, overlay_names([path])))
            for path in (one, other)
        ]

        def save_and_be_late(*words, **more):
            monkeypatch.undo()
            save(*words, **more)
            writers[1](reading_of(other))

        def be_late_and_link(*words):
            monkeypatch.undo()
            writers[1](reading_of(other))
            link(*words)

        if when == "saved":
            monkeypatch.setattr(Image.Image, "save", save_and_be_late)
        else:
            monkeypatch.setattr(os, "link", be_late_and_link)
        writers[0](reading_of(one))
    drawn = {path.name: path.read_bytes() for path in folder.iterdir()}
    apart = overlay_names([one, "b/film.png"])[str(one)]
    assert sorted(drawn) == sorted({"film.overlay.png"} | ({apart} if one != other else set()))
    for path in (one, other):
        write_overlay(reading_of(path), tmp_path / "alone.png")
        assert (tmp_path / "alone.png").read_bytes() in drawn.values()


def test_what_a_killed_run_was_drawing_goes_with_the_next_one(tmp_path):
    folder = tmp_path / "pictures"
    code = f"""
import os, signal
from kirik.output.pictures import overlay_writer
begun = overlay_writer({str(folder)!r}, {{}})
begun.__enter__()
os.kill(os.getpid(), signal.SIGKILL)
"""
    with overlay_writer(folder, {}):
        subprocess.run([sys.executable, "-c", code], check=False)
        assert len([*folder.iterdir()]) == 2
    assert len([*folder.iterdir()]) == 1
    with overlay_writer(folder, {}):
        assert len([*folder.iterdir()]) == 1
    assert not [*folder.iterdir()]


def test_a_folder_that_cannot_be_made_is_told_at_once(tmp_path, save_radiograph):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        overlay_writer(tmp_path / "file" / "folder", {}).__enter__()
    path = save_radiograph("film.png", 0.5)
    with pytest.raises(OutputError, match="cannot be written"):
        write_overlay(reading_of(path), tmp_path / "file" / "a.png")


def test_pictures_are_drawn_beside_each_other_and_results_keep_their_order(
    save_radiograph, tmp_path, monkeypatch
):
    monkeypatch.setattr(pictures, "usable_cores", lambda: 3)
    paths = [save_radiograph(f"{number}.png", number / 20) for number in range(9)]
    results = [reading_of(path) for path in paths]
    results[4:4] = [Failure("bad.png", "bad", "bad")]
    both, saved, threads = threading.Barrier(2), Image.Image.save, set()

    def save(*words, **more):
        with suppress(threading.BrokenBarrierError):  # two at the same time, or the test fails
            both.wait(20)
        threads.add(threading.current_thread())
        saved(*words, **more)

    names = overlay_names(paths)
    with overlay_writer(tmp_path / "drawn", names) as write:
        monkeypatch.setattr(Image.Image, "save", save)
        given = []
        for result in write.ahead(iter(results)):
            if len(given) == 7:
                both.abort()  # nine are not to be divided by two
            given.append(result)
            write(result)
    monkeypatch.undo()
    assert given == results
    assert threading.current_thread() not in threads
    assert len(threads) > 1
    with overlay_writer(tmp_path / "one by one", names) as write:
        for result in results:
            write(result)
    for name in names.values():
        alone = (tmp_path / "one by one" / name).read_bytes()
        assert (tmp_path / "drawn" / name).read_bytes() == alone
    assert len([*(tmp_path / "drawn").iterdir()]) == len(paths)


def test_an_error_among_the_results_comes_after_those_before_it(save_radiograph, tmp_path):
    paths = [save_radiograph(f"{number}.png", number / 5) for number in range(2)]

    def results():
        yield from map(reading_of, paths)
        raise OSError("the list of files broke off")

    with overlay_writer(tmp_path / "drawn", overlay_names(paths)) as write:
        ahead = write.ahead(results())
        for path in paths:
            result = next(ahead)
            assert result.path == str(path)
            write(result)
        with pytest.raises(OSError, match="broke off"):
            next(ahead)
    assert len([*(tmp_path / "drawn").iterdir()]) == 2


def test_a_writer_that_was_closed_draws_no_more(save_radiograph, tmp_path):
    paths = [save_radiograph(f"{number}.png", number / 5) for number in range(5)]
    with overlay_writer(tmp_path / "drawn", overlay_names(paths)) as write:
        ahead = write.ahead(map(reading_of, paths))
        write(next(ahead))
    assert [result.path for result in ahead] == [str(path) for path in paths[1:]]
    assert len([*(tmp_path / "drawn").iterdir()]) == 1


def test_a_stop_waits_for_no_picture_that_is_not_begun(save_radiograph, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "usable_cores", lambda: 4)
    paths = [save_radiograph(f"{number}.png", number / 8) for number in range(6)]
    decoded, asked, film = [], threading.Event(), pictures._film

    def slow_film(reading, source, decoders):
        decoded.append(reading.path)
        asked.set()
        time.sleep(1)
        return film(reading, source, decoders)

    monkeypatch.setattr(pictures, "_film", slow_film)

    def results():
        yield from map(reading_of, paths[:4])
        assert asked.wait(20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), overlay_writer(tmp_path / "drawn", None) as write:
        list(write.ahead(results()))
    assert decoded == [str(paths[0])]
    assert not [*(tmp_path / "drawn").iterdir()]


def test_pictures_that_cannot_be_moved_leave_no_drafts(save_radiograph, tmp_path):
    paths = [save_radiograph(f"{number}.png", number / 8) for number in range(4)]
    folder, names = tmp_path / "drawn", overlay_names(paths)
    for path in paths:
        for name in (names[str(path)], overlay_names([path, f"x/{path.name}"])[str(path)]):
            (folder / name).mkdir(parents=True)
    with overlay_writer(folder, names) as write:
        for result in write.ahead(map(reading_of, paths)):
            with pytest.raises(RadiographError, match="but no picture"):
                write(result)
        assert not [*folder.glob(".*/*.png")]


def test_drafts_that_somebody_tidied_away_are_drawn_anew(save_radiograph, tmp_path):
    paths = [save_radiograph(f"{number}.png", number / 8) for number in range(3)]
    folder = tmp_path / "drawn"
    with overlay_writer(folder, overlay_names(paths)) as write:
        ahead = write.ahead(map(reading_of, paths))
        for number, result in enumerate(ahead):
            if number == 0:
                [drafts] = folder.glob(".*")
                for future in [*write._begun.values()]:
                    future.result()
                shutil.rmtree(drafts)
            write(result)
    assert len([*folder.iterdir()]) == 3


def test_where_the_system_gives_no_threads_pictures_are_drawn_in_turn(
    save_radiograph, tmp_path, monkeypatch
):
    paths = [save_radiograph(f"{number}.png", number / 8) for number in range(3)]

    def refused(self):
        raise RuntimeError("can't start new thread")

    with overlay_writer(tmp_path / "drawn", overlay_names(paths)) as write:
        monkeypatch.setattr(ThreadPoolExecutor, "_adjust_thread_count", refused)
        for result in write.ahead(map(reading_of, paths)):
            write(result)
    assert len([*(tmp_path / "drawn").iterdir()]) == 3
