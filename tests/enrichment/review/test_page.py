"""Tests of the review page with keys and clicks in a headless browser."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from attr_extractor.enrichment import cells
from tests.conftest import draw_photo
from tests.enrichment.by_hand import cell, color
from tests.enrichment.review.by_hand import options, running, step
from tests.web.browser import Page, chromium

pytestmark = pytest.mark.slow  # a browser

ENTER, ESCAPE, DOWN, TAB = "\ue007", "\ue00c", "\ue015", "\ue004"
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests; each server has another port, so no storage is shared."""
    with chromium() as page:
        yield page


@pytest.fixture
def page(browser) -> Page:
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    browser.colors(dark=False)
    browser.errors()  # discards the messages of the test before
    return browser


@pytest.fixture
def serve(shop, tmp_path):
    """Return a function that serves a page for some cells until the end of the test."""
    import contextlib

    with contextlib.ExitStack() as stack:
        yield lambda rows, **of: stack.enter_context(running(options(shop, tmp_path, rows, **of)))


@pytest.fixture
def stored(tmp_path):
    """Return a function that reads the decisions as {product: (reviewer, kind, value)}."""

    def read() -> dict[str, tuple[str, str, str]]:
        with sqlite3.connect(tmp_path / "decisions.sqlite") as db:
            found = db.execute(
                "SELECT product_id, reviewer, kind, value FROM decisions"
                " JOIN items ON items.id = item"
            ).fetchall()
        db.close()
        return {product: tuple(rest) for product, *rest in found}

    return read


def session() -> list[dict]:
    """Cells of products p000 to p006, in the order of the queue."""
    rows = [
        cell(1 + i, proposed_scores=[0.99 - i / 1000, 0.2, 0.1], given_score=0.0) for i in range(5)
    ]
    doubted = {"verdict": cells.DOUBTFUL}
    return [*rows, color(6, given_score=0.3, **doubted), cell(7, given_score=0.7, **doubted)]


EXPECTED = {
    "p000": ("Ada", "seller", "v-neck"),
    "p001": ("Ada", "values", "no neck"),
    "p002": ("Ada", "values", "round neck"),
    "p003": ("Ada", "none", ""),
    "p005": ("Ada", "values", "red|blue"),
}


def test_a_session_by_keys_only(page, serve, stored):
    page.open(serve(session()).address)
    assert page.product() == "p000"
    page.keys("s")
    page.wait_for("Stored for product p000: the seller\u2019s value stays.")
    assert page.product() == "p001"
    page.keys("2")
    page.wait_for("Stored for product p001: no neck.")
    page.keys("/", "ROUND", ENTER)
    page.wait_for("Stored for product p002: round neck.")
    page.keys("n")
    page.wait_for("Stored for product p003: none of them.")
    page.keys(" ")
    page.wait_for("Skipped. Now: color of product p005, doubtful.")
    page.keys("1")
    page.wait_for("Chosen: blue.")
    page.keys("2", "2", "/", "re", ENTER)  # green is chosen and removed again; red is searched
    page.wait_for("Chosen: blue, red.")
    page.keys(ENTER)
    page.wait_for("Stored for product p005: blue, red.")
    assert stored() == EXPECTED
    assert page.text("#progress") == "5 done \u00b7 2 left \u00b7 5 mine"
    assert page.errors() == []


def test_the_same_session_by_clicks_only(page, serve, stored):
    page.open(serve(session()).address)
    page.click("#seller")
    page.wait_for("Stored for product p000: the seller\u2019s value stays.")
    page.click("#proposals li:nth-child(2) button")
    page.wait_for("Stored for product p001: no neck.")
    page.click("#search")
    page.click("#value-1")
    page.wait_for("Stored for product p002: round neck.")
    page.click("#none")
    page.wait_for("Stored for product p003: none of them.")
    page.click("#skip")
    page.wait_for("Skipped. Now: color of product p005, doubtful.")
    for css in ("#proposals li:nth-child(1) button", "#proposals li:nth-child(3) button"):
        page.click(css)
        assert page.find(css).get_attribute("aria-pressed") == "true"
    page.click("#save")
    page.wait_for("Stored for product p005: blue, red.")
    assert stored() == EXPECTED
    assert page.errors() == []


def test_the_end_of_the_queue_is_shown(page, serve):
    page.open(serve([cell()]).address)
    page.keys("s")
    page.wait_for("Nothing left to review here", "#empty")
    assert page.text("#progress") == "1 done \u00b7 0 left \u00b7 1 mine"
    page.keys("s", "n", "1", " ", ENTER)  # there is nothing to decide
    page.keys("u")
    page.wait_for("Undone. Now: neck_type of product p000")


def test_undo_by_key_and_by_click_shows_the_last_item_again(page, serve, stored):
    page.open(serve(session()).address)
    page.keys("n")
    page.wait_for("Stored for product p000")
    page.keys("1")
    page.wait_for("Stored for product p001")
    page.keys("u")
    page.wait_for("Undone. Now: neck_type of product p001")
    assert set(stored()) == {"p000"}
    page.click("#undo")
    page.wait_for("Undone. Now: neck_type of product p000")
    assert stored() == {}
    page.keys("u")
    page.wait_for("You have nothing to undo", "#message")
    assert page.product() == "p000"
    page.keys("s")
    page.wait_for("Stored for product p000: the seller\u2019s value stays.")
    assert not page.find("#message").is_displayed()


def test_the_page_says_what_a_proposal_rests_on(page, serve):
    said = "'jersey<b>' +2.1, category=dress -0.4"
    page.open(serve([cell(1, told_by=said), cell(2)]).address)
    assert page.text("#told-by") == f"round neck: told by {said}"
    page.keys("s")
    page.wait_for("Stored for product p000")
    assert not page.find("#told-by").is_displayed()


def test_filters_select_the_items(page, serve):
    page.open(serve([*session(), cell(8, seller="north", product_id="SKU-77")]).address)
    page.click("summary")
    for css, option in (("#f-attribute", "color"), ("#f-verdict", "doubtful")):
        page.find(css).send_keys(option)
        page.wait_for("Filtered. Now: color of product p005, doubtful.")
    assert page.text("#progress").startswith("0 done \u00b7 1 left")
    assert page.text("summary") == "Filters: 2 set"
    page.click("#clear")  # the shown item still matches
    page.wait_for("0 done \u00b7 8 left", "#progress")
    assert page.product() == "p005" and page.text("summary") == "Filters"
    page.find("#f-product").send_keys("sku", ENTER)
    page.wait_for("Filtered. Now: neck_type of product SKU-77")
    page.click("#clear")
    page.wait_for("0 done \u00b7 8 left", "#progress")
    page.find("#f-category").send_keys("shirt")
    page.find("#f-seller").send_keys("north", ENTER)
    page.wait_for("0 done \u00b7 1 left", "#progress")
    assert page.product() == "SKU-77"
    page.find("#f-product").send_keys("nothing like it", ENTER)
    page.wait_for("Nothing left to review here", "#empty")


def test_two_reviewers_get_different_items_and_a_late_decision_is_refused(
    page, serve, stored, tmp_path
):
    served = serve(session()[:3])
    page.open(served.address)
    with chromium() as other:
        other.open(served.address, "Ben")
        assert (page.product(), other.product()) == ("p000", "p001")
        assert "1 with others" in other.text("#progress")
        other.keys("s")
        other.wait_for("Stored for product p001")
        assert other.product() == "p002"
        other.keys("n")
        other.wait_for("No item is free now", "#empty")
        # Ada's lease ends before she decides, and Ben gets her item
        with sqlite3.connect(tmp_path / "decisions.sqlite") as db:
            db.execute("UPDATE leases SET until = 0 WHERE reviewer = 'Ada'")
        db.close()
        other.click("#again")
        other.wait_for("Now: neck_type of product p000")
        other.keys("2")
        other.wait_for("Stored for product p000: no neck.")
        page.keys("1")
        page.wait_for("Ben already decided this item", "#message")
        told = page.text("#message")
        assert "no neck" in told and "Your answer was not stored." in told
        assert page.find("#message").get_attribute("role") == "alert"
        page.keys("1", "n")  # no decision is possible while the message is shown
        assert page.script("return document.activeElement.id") == "go-on"
        page.keys(ENTER)
        page.wait_for("Nothing left to review here", "#empty")
        assert not page.find("#message").is_displayed()
    assert stored() == {
        "p000": ("Ben", "values", "no neck"),
        "p001": ("Ben", "seller", "v-neck"),
        "p002": ("Ben", "none", ""),
    }


def test_two_windows_of_one_reviewer_have_different_items(page, serve):
    served = serve(session())
    page.open(served.address)
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("window")
    try:
        page.driver.get(served.address)  # the name is stored
        page.wait(lambda: page.find("#work").is_displayed())
        assert page.product() == "p001"
        page.driver.refresh()
        page.wait(lambda: page.find("#work").is_displayed())
        assert page.product() == "p001"
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)
    assert page.product() == "p000"


def test_a_missing_photo_is_reported_and_the_item_can_be_decided(
    page, serve, shop, tmp_path, stored
):
    root = tmp_path / "root"
    shutil.copytree(shop.path / "images", root / "images")
    served = serve(session(), image_root=root)
    (root / "images" / "000_0.jpg").unlink()
    page.open(served.address)
    page.wait_for("Photo cannot be shown: image not found", "#photo-note")
    assert not page.find("#photo").is_displayed()
    page.keys("s")
    page.wait_for("Stored for product p000")
    page.wait(lambda: page.script("return document.getElementById('photo').naturalWidth > 0"))
    assert page.find("#photo").is_displayed() and page.text("#photo-note") == ""
    assert stored() == {"p000": ("Ada", "seller", "v-neck")}


def test_each_photo_of_a_product_can_be_shown(page, serve):
    page.open(serve([cell(image="images/000_0.jpg|images/000_1.jpg")]).address)
    page.click("#photo-choice button:nth-child(2)")
    alt = "Photo 2 of 2 of product p000"
    page.wait(lambda: page.find("#photo").get_attribute("alt") == alt)
    assert page.find("#photo").get_attribute("src").endswith("/photo/1/1")
    pressed = [b.get_attribute("aria-pressed") for b in page.all("#photo-choice button")]
    assert pressed == ["false", "true"]


def test_texts_of_sellers_are_inserted_as_text(page, serve, shop, tmp_path):
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    draw_photo(root / "images" / "000_0.jpg", "shirt", ["red"], "v-neck")
    page.open(serve([cell(product_id=EVIL, seller=EVIL)], image_root=root).address, EVIL)
    assert page.text("#facts") == f"shirt \u00b7 product {EVIL} \u00b7 seller {EVIL} \u00b7 row 1"
    assert page.text("#who") == EVIL
    assert page.find("#photo").get_attribute("alt") == f"Photo of product {EVIL}"
    page.keys("s")
    page.wait_for(EVIL)
    assert len(page.all("img")) == 1
    assert page.errors() == []


def test_the_page_fits_a_phone(page, serve):
    long = "an_identifier_without_any_place_to_break_it_" * 3
    rows = [cell(seller=long, product_id=long), color(2)]
    page.phone(390)
    page.open(serve(rows).address)
    page.click("summary")
    page.wait(lambda: page.find("#f-verdict").is_displayed())
    wide = "return [document.documentElement.scrollWidth, innerWidth]"
    assert page.script(wide) == [390, 390]
    for css in ("#seller", "#proposals button", "#none", "#skip", "#undo"):
        assert page.find(css).size["height"] >= 44
        assert page.find(css).rect["x"] + page.find(css).rect["width"] <= 390
    assert not page.find("#none kbd").is_displayed()  # there are no keys
    page.click("#seller")
    page.wait_for("color of product p001")
    page.find("#search").send_keys("e")
    page.wait(lambda: page.find("#values").is_displayed())
    assert page.script(wide) == [390, 390]


def test_every_element_has_a_role_and_a_name(page, serve):
    page.open(serve(session(), token="", run_dir=None).address)
    for which in ("as it opens", "with the filters and the values"):
        tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        nodes = [node for node in tree if not node["ignored"]]
        named = [
            (node["role"]["value"], node.get("name", {}).get("value", "").strip())
            for node in nodes
            if node.get("role")
        ]
        roles = {"button", "combobox", "textbox", "searchbox", "option", "image", "region"}
        assert [node for node in named if node[0] in roles and not node[1]] == [], which
        buttons = [name for role, name in named if role == "button"]
        assert any("Keep the seller" in name and "v-neck" in name for name in buttons)
        assert any("does not apply" in name for name in buttons)
        page.click("summary")
        page.keys("/")
        page.find("#search").click()
    seen = dict(named)
    assert {"main", "combobox", "listbox", "option", "status", "heading"} <= set(seen)
    active = page.find("#search").get_attribute("aria-activedescendant")
    assert active is None and page.find("#search").get_attribute("aria-expanded") == "true"
    page.keys(DOWN, DOWN)
    active = page.find("#search").get_attribute("aria-activedescendant")
    assert page.find(f"#{active}").get_attribute("aria-selected") == "true"
    page.keys(ESCAPE)
    assert page.script("return document.activeElement.id") == "question"


def test_tab_moves_the_focus_from_the_question_through_the_answers(page, serve):
    page.open(serve(session()).address)
    assert page.script("return document.activeElement.id") == "question"
    seen = []
    for _ in range(8):
        page.keys(TAB)
        seen.append(page.script("return document.activeElement.id || 'proposal'"))
    assert seen == ["seller", *["proposal"] * 3, "search", "none", "skip", "undo"]
    page.keys(" ")  # presses the button Undo, does not skip
    page.wait_for("You have nothing to undo", "#message")
    assert page.find("#status").get_attribute("aria-live") == "polite"


def test_keys_in_the_search_box_decide_nothing(page, serve, stored):
    page.open(serve(session()).address)
    page.keys("/", "snu1 ")
    assert page.find("#search").get_attribute("value") == "snu1 "
    page.keys(ENTER)  # no such value
    page.keys(ESCAPE)
    assert page.product() == "p000" and stored() == {}


def test_a_key_repeated_before_the_response_decides_one_item(page, serve, stored):
    page.open(serve(session()).address)
    page.script("""
        for (let i = 0; i < 5; i++)
          document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 's', bubbles: true}));
    """)
    page.wait_for("Stored for product p000")
    assert set(stored()) == {"p000"}


def test_a_stopped_server_is_reported_and_the_item_stays(page, shop, tmp_path):
    with running(options(shop, tmp_path, session())) as served:
        page.open(served.address)
    page.keys("s")
    page.wait_for("The server does not answer. Nothing was stored; try again.", "#message")
    assert page.product() == "p000"


def test_the_token_is_removed_from_the_address(page, serve):
    served = serve(session(), token="a secret")
    page.open(f"{served.address}?token=a%20secret")
    assert page.driver.current_url == served.address
    page.keys("s")
    page.wait_for("Stored for product p000")
    assert page.script("return document.cookie") == ""  # scripts cannot read it
    page.driver.delete_all_cookies()
    page.keys("s")
    page.wait_for("Open the page with the address that ends in ?token=", "#message")
    assert page.product() == "p001"


def test_contrast_in_light_and_dark_mode(page, serve):
    page.open(serve(session()).address)
    for dark in (False, True):
        page.colors(dark)
        for css in ("body", "#facts", "#question", "#seller .score", "#verdict", "#status"):
            assert _contrast(page, css) >= 4.5, (css, dark)


def _contrast(page: Page, css: str) -> float:
    """Return the WCAG 2 contrast of an element's text with its background."""
    front, back = page.script(
        """
        const rgb = text => text.match(/[\\d.]+/g).map(Number);
        let at = document.querySelector(arguments[0]);
        const front = rgb(getComputedStyle(at).color);
        while (rgb(getComputedStyle(at).backgroundColor)[3] === 0) at = at.parentElement;
        return [front, rgb(getComputedStyle(at).backgroundColor)];
        """,
        css,
    )

    def luminance(color) -> float:
        parts = [c / 255 for c in color[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(front), luminance(back)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_decisions_of_other_reviewers_are_counted_in_the_progress(page, serve):
    served = serve(session())
    page.open(served.address)
    assert step(served, "decide", "Ben", item=5, kind="none")[0] == 200
    page.keys("s")
    page.wait_for("2 done \u00b7 5 left", "#progress")
    assert page.text("#progress").endswith("1 mine")
