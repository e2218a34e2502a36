import shutil

import httpx
import pytest

PASSWORD = "doğru at pil zımba"


@pytest.fixture
def fresh(serve, visit):
    """A room without an account."""
    return visit(serve())


def sign_in(room, name: str, password: str) -> None:
    room.page.fill("#name", name)
    room.page.fill("#password", password)
    room.page.click("#sign-in button")


def test_the_first_account_closes_the_room_and_its_owner_signs_in(fresh):
    page = fresh.page
    fresh.go("/admin")
    page.locator("#still-open").wait_for()
    page.click("[data-open=new-account]")
    page.fill("#account-name", "yönetici")
    page.fill("#account-password", PASSWORD)
    page.select_option("#account-role", "administrator")
    page.click("#new-account [type=submit]")
    page.wait_for_url("**/login")
    fresh.go("/agreement")
    page.wait_for_url("**/login?next=%2Fagreement")
    sign_in(fresh, "yönetici", "wrong password here")
    page.locator(".problem", has_text=fresh.words["login_401"]).wait_for()
    sign_in(fresh, "yönetici", PASSWORD)
    page.wait_for_url("**/agreement")

    fresh.go("/admin")
    page.click("[data-open=new-account]")
    page.fill("#account-name", "okuyucu")
    page.fill("#account-password", PASSWORD)
    page.select_option("#account-role", "reader")
    page.click("#new-account [type=submit]")
    page.locator("#new-account[open]").wait_for(state="detached")
    assert page.locator("#new-account .problem").text_content() == ""
    row = page.locator("#accounts tbody tr", has_text="okuyucu")
    row.wait_for()
    row.locator("button").click()
    page.select_option("#change-role", "reviewer")
    page.click("#change-account [type=submit]")
    page.locator("#accounts tbody tr", has_text=fresh.words["role_reviewer"]).wait_for()

    page.click("#menu-button")
    page.click("#sign-out")
    page.wait_for_url("**/login")
    sign_in(fresh, "okuyucu", PASSWORD)
    page.wait_for_url(fresh.address + "/")
    page.locator("#role", has_text="okuyucu").wait_for(state="attached")
    assert page.locator("[data-nav=admin]").is_hidden()
    fresh.go("/admin")
    page.locator("#refused:not(:empty), h1").first.wait_for()
    assert page.locator("#accounts tbody tr").count() == 0


def test_tokens_model_trail_and_storage(fresh, bundle, tmp_path):
    page, words = fresh.page, fresh.words
    fresh.go("/admin")
    page.click("#tab-tokens")
    page.click("[data-open=new-token]")
    page.fill("#token-name", "röntgen-2")
    page.click("#new-token [type=submit]")
    page.locator("#token-shown[open]").wait_for()
    assert len(page.locator("#secret").inner_text()) > 20
    page.click("#token-shown [data-close]")
    fresh.until("document.querySelector('#secret').textContent === ''")
    page.locator("#tokens tbody tr", has_text="röntgen-2").locator("button").click()
    page.click("#revoke-now")
    page.locator("#no-tokens").wait_for()

    page.click("#tab-model")
    page.locator("#model dd", has_text="brightness").wait_for()
    zipped = shutil.make_archive(str(tmp_path / "again"), "zip", bundle)
    page.set_input_files("#bundle", zipped)
    page.click("#put-model button")
    put = words["model_in"].format(name="bright", version="1")
    page.locator("#put-model [role=status]", has_text=put).wait_for(timeout=30_000)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x05\x06" + bytes(18))
    page.set_input_files("#bundle", broken)
    page.click("#put-model button")
    page.locator("#put-model .problem:not(:empty)").wait_for()

    page.click("#tab-storage")
    page.fill("#days", "90")
    page.click("#retention button")
    page.locator(".toast", has_text="90").wait_for()

    page.click("#tab-trail")
    page.locator("#trail tbody tr", has_text=words["action_storage.changed"]).wait_for()
    page.click("#trail-verify")
    page.locator("#intact", has_text=words["trail_intact"]).wait_for()


def test_a_long_name_does_not_widen_the_accounts(fresh):
    name = "uzun" * 20
    own = {"X-Requested-With": "kirik"}
    said = {"name": name, "password": PASSWORD, "role": "administrator"}
    httpx.post(f"{fresh.address}/api/v1/users", json=said, headers=own).raise_for_status()
    fresh.page.set_viewport_size({"width": 360, "height": 740})
    fresh.go("/login")
    sign_in(fresh, name, PASSWORD)
    fresh.page.wait_for_url(fresh.address + "/")
    fresh.go("/admin")
    fresh.page.locator("#accounts tbody tr").wait_for()
    wide = fresh.page.evaluate(
        "[...document.querySelectorAll('#accounts .scroll, html')]"
        ".filter((it) => it.scrollWidth > it.clientWidth).map((it) => it.outerHTML.slice(0, 60))"
    )
    assert not wide
    box = fresh.page.locator("#accounts tbody button").bounding_box()
    assert box["x"] + box["width"] <= 360
