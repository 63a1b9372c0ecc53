"""Claims about `html_page.py`: text stays text, pages hold all they need."""

from __future__ import annotations

import base64
import re

from attr_extractor import html_page
from attr_extractor.html_page import Markup

EVIL = "<script>alert('x')</script>\"&"
SAFE = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;"


def test_text_is_escaped_once_and_markup_is_kept():
    assert html_page.escape(EVIL) == SAFE
    assert html_page.escape(html_page.escape(EVIL)) == SAFE
    assert Markup("<b>") + EVIL == "<b>" + SAFE
    assert isinstance(Markup("<b>") + EVIL, Markup)
    assert html_page.escape(1234567) == "1,234,567"


def test_every_block_escapes_text():
    blocks = [
        html_page.headline([(EVIL, EVIL)]),
        html_page.bars([(EVIL, 1)]),
        html_page.table([EVIL], [[EVIL]]),
        html_page.search("root", EVIL),
        html_page.histogram([1], [EVIL, EVIL], EVIL),
        html_page.line_chart([("", [])], EVIL, [(0, EVIL), (1, "")], [(0, EVIL), (1, "")]),
        html_page.searched("root", EVIL, Markup()),
        html_page.page(EVIL, ""),
    ]
    for block in blocks:
        assert SAFE in block
        assert EVIL not in block


def test_a_bar_is_as_long_as_its_share_of_the_longest():
    assert [
        part.split("%")[0] for part in html_page.bars([("a", 8), ("b", 2)]).split("width:")[1:]
    ] == ["100.00", "25.00"]
    assert "width" not in html_page.bars([("a", 0)])


def test_the_highest_bar_of_a_histogram_is_full_and_a_half_is_half():
    heights = html_page.histogram([2, 4, 0], ["0", "1", "2", "3"], "t").split("height='")[1:]
    assert [float(part.split("'")[0]) for part in heights] == [48, 96, 0]


def test_points_of_a_line_stand_where_the_ticks_say():
    ticks = [(0.0, "0"), (10.0, "ten")]
    text = html_page.line_chart(
        [("dashed", [(0, 0), (5, 10), (10, 0)])], "t", ticks, ticks, [(0, 5)]
    )
    path = re.search(r"<polyline class='dashed' points='([^']*)'", text)[1]
    (x0, y0), (x1, y1), (x2, y2) = ([float(n) for n in p.split(",")] for p in path.split())
    assert y0 == y2 > y1 and x1 == (x0 + x2) / 2
    (x, y) = re.search(r"<circle cx='([\d.]*)' cy='([\d.]*)'", text).groups()
    assert (float(x), float(y)) == (x0, (y0 + y1) / 2)


def test_a_data_url_holds_the_bytes():
    url = html_page.data_url(b"\xff\xd8photo")
    assert base64.b64decode(url.removeprefix("data:image/jpeg;base64,")) == b"\xff\xd8photo"
