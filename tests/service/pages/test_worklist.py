import zipfile

import httpx
import pytest

from .conftest import ON_DESKTOP, film


@pytest.fixture(scope="module")
def address(serve, browser) -> str:
    """Of a room of these tests' own: a list of hundreds would not show all at once."""
    return serve()


def row(room, name: str):
    return room.page.locator("#list .row", has_text=name)


def test_chosen_files_appear_at_once_and_get_their_decision(room, films):
    room.go()
    room.page.set_input_files("#files", list(films.values()))
    tray = room.page.locator("#tray li")
    tray.first.wait_for()
    for decision, path in films.items():
        said = row(room, path.name)
        said.locator(f".decision.{decision}").wait_for()
        assert room.words[f"decision_{decision}"] in said.text_content()
        mine = room.page.locator("#tray li", has_text=path.name)
        mine.locator(f".decision.{decision}").wait_for()
    names = room.page.locator("#list .row .name").all_text_contents()
    mine = [names.index(films[d].name) for d in ("fracture", "uncertain", "no_fracture")]
    assert mine == sorted(mine)  # most urgent first


def test_files_dropped_anywhere_are_handed_in(room, films):
    room.go()
    path = films["fracture"]
    room.page.evaluate(
        """([name, bytes]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], name));
          for (const kind of ["dragover", "drop"]) document.body.dispatchEvent(
            new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        [path.name, list(path.read_bytes())],
    )
    row(room, path.name).locator(".decision.fracture").wait_for()


def test_a_zips_radiographs_come_in_and_what_is_none_is_named(room, films, tmp_path):
    archive, text = tmp_path / "exam.zip", tmp_path / "note.txt"
    text.write_text("no radiograph")
    with zipfile.ZipFile(archive, "w") as file:
        file.write(films["fracture"], films["fracture"].name)
        file.write(films["uncertain"], films["uncertain"].name)
    room.go()
    room.page.set_input_files("#files", [archive, text])
    for decision in ("fracture", "uncertain"):
        room.page.locator("#tray li", has_text=films[decision].name).locator(
            f".decision.{decision}"
        ).wait_for()
    refused = room.page.locator("#tray li", has_text="note.txt").locator(".decision.failed")
    refused.wait_for()
    assert refused.inner_text() in (
        room.words["reason_unsupported"],
        room.words["reason_not_an_image"],
    )


@ON_DESKTOP
def test_the_same_file_again_is_said_to_be_known(room, films):
    room.hand_in(films["fracture"])
    room.go()
    room.page.set_input_files("#files", films["fracture"])
    room.page.locator("#tray li .tag", has_text=room.words["upload_known"]).wait_for()


def test_filters_and_search_narrow_the_list_and_stand_in_the_address(room, films):
    room.hand_in(*films.values())
    room.wait_read(*(path.name for path in films.values()))
    room.go()
    row(room, films["fracture"].name).wait_for()
    room.page.locator("[data-chip=uncertain]").click()
    row(room, films["fracture"].name).wait_for(state="detached")
    assert row(room, films["uncertain"].name).count() == 1
    assert "decision=uncertain" in room.page.url
    room.page.locator("[data-chip=uncertain]").click()
    row(room, films["fracture"].name).wait_for()
    room.page.fill("#q", films["no_fracture"].name)
    row(room, films["fracture"].name).wait_for(state="detached")
    row(room, films["no_fracture"].name).wait_for()
    room.page.fill("#q", "nothing is called so")
    room.page.locator("#nothing").wait_for()
    room.page.click("#reset")
    row(room, films["fracture"].name).wait_for()


def test_a_long_list_comes_in_pages(room, tmp_path, kind):
    many = [film(tmp_path / f"{n}.png", "no_fracture", n, (40, 40)) for n in range(60)]
    room.hand_in(*many)
    room.go()
    room.page.locator("#list .row").first.wait_for()
    assert room.page.locator("#list .row").count() >= 50
    room.page.locator("#more").scroll_into_view_if_needed()
    room.until("document.querySelectorAll('#list .row').length > 55")


def test_keys_walk_through_the_rows(room, films):
    room.hand_in(films["fracture"])
    room.go()
    room.page.locator("#list .row").first.wait_for()
    room.page.keyboard.press("j")
    first = room.page.evaluate("document.activeElement.closest('.row')?.dataset.id")
    assert first
    room.page.keyboard.press("/")
    assert room.page.evaluate("document.activeElement.id") == "q"


@pytest.fixture
def told(films, tmp_path):
    """A film whose name has letters that are searched without their marks."""
    path = tmp_path / f"Örnek ışık {films['fracture'].name}"
    path.write_bytes(films["fracture"].read_bytes() + b"!")
    return path


def review(room, study: dict) -> None:
    said = {"agrees": True, "decision": study["decision"]}
    where = f"{room.address}/api/v1/studies/{study['id']}/reviews"
    answer = httpx.post(where, json=said, headers={"X-Requested-With": "kirik"})
    assert answer.status_code == 201, answer.text


@ON_DESKTOP
@pytest.mark.parametrize("words", ["isik ornek", "{sha256}"])
def test_what_the_server_finds_stays_in_the_list(room, told, words):
    room.hand_in(told)
    [study] = room.wait_read(told.name)
    q = words.format(sha256=study["sha256"][:12])
    mine = room.page.locator(f"#list [data-id='{study['id']}']")
    with room.page.expect_response("**/events"):
        room.go(f"/?q={q}")
    mine.wait_for()
    room.page.wait_for_timeout(1500)  # the list is asked for again when the stream begins
    assert mine.is_visible()
    review(room, study)
    mine.locator(".tag.agreed").wait_for()


@ON_DESKTOP
def test_what_the_search_finds_comes_in_while_it_is_shown(room, told):
    room.go(f"/?q=ornek {told.stem[-20:]}")
    room.page.locator("#nothing").wait_for()
    room.hand_in(told)
    row(room, told.name).wait_for()


@ON_DESKTOP
def test_an_older_study_that_changes_does_not_come_into_the_newest(room, told):
    room.hand_in(told)
    [study] = room.wait_read(told.name)
    # As if it had been received three days ago.
    room.page.add_init_script("{ const now = Date.now; Date.now = () => now() + 3 * 86_400_000; }")
    with room.page.expect_response("**/events"):
        room.go("/?since=1")
    room.page.locator("#nothing").wait_for()
    room.page.wait_for_timeout(500)
    with room.page.expect_response("**/studies?*"):  # the server is asked whether it belongs
        review(room, study)
    room.page.wait_for_timeout(500)
    assert room.page.locator("#list .row").count() == 0


@ON_DESKTOP
def test_a_known_file_is_called_in_the_tray_as_it_was_sent(room, films, tmp_path):
    room.hand_in(films["fracture"])
    again = tmp_path / f"again-{films['fracture'].stem}.copy.png"
    again.write_bytes(films["fracture"].read_bytes())
    room.go()
    room.page.set_input_files("#files", again)
    mine = room.page.locator("#tray li", has=room.page.locator(".tag"))
    mine.locator("a", has_text=again.name).wait_for()
    assert films["fracture"].name in mine.locator(".name .soft").inner_text()
