"""Claims about `web/pages.py` and its widgets: text stays text, charts show what they are given."""

from __future__ import annotations

import base64
import re

import jinja2
import pytest
from markupsafe import Markup

from attr_extractor.web import formats, pages

EVIL = "<script>alert('x')</script>\"&"
SAFE = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;"


def widget(name: str, *arguments: object, **named: object) -> str:
    return str(getattr(pages._ENVIRONMENT.globals["widgets"], name)(*arguments, **named))


def test_every_widget_escapes_text():
    blocks = [
        widget("headline", [(EVIL, EVIL)]),
        widget("bars", [(EVIL, 1)]),
        widget("table", [EVIL], [[EVIL]]),
        widget("table_of", [EVIL], caller=lambda: Markup("<tr></tr>")),
        widget("search", "root", EVIL),
        widget("histogram", [1], [EVIL, EVIL], EVIL),
        widget("line_chart", [("", [])], EVIL, [(0, EVIL), (1, "")], [(0, EVIL), (1, "")]),
    ]
    for block in blocks:
        assert SAFE in block
        assert EVIL not in block


def test_markup_is_kept_and_integers_have_thousands_separators():
    cells = re.findall(
        r"<td.*?>(.*?)</td>", widget("table", ["a", "b"], [[Markup("<b>1</b>"), 1234567]])
    )
    assert cells == ["<b>1</b>", "1,234,567"]


def test_a_table_marks_the_columns_of_numbers():
    text = widget("table", ["a", "b", "c"], [["1", "2", "3"]], "sortable", "-n")
    assert re.findall(r"<t[hd](.*?)>", text.replace("<thead>", "")) == ["", ' class="num"', ""] * 2


def test_a_bar_is_as_long_as_its_share_of_the_longest():
    widths = re.findall(r"width:([\d.]+)%", widget("bars", [("a", 8), ("b", 2)]))
    assert widths == ["100.00", "25.00"]
    assert "width" not in widget("bars", [("a", 0)])
    assert widget("bars", []).split() == ["<div", 'class="chart">', "</div>"]


def test_the_highest_bar_of_a_histogram_is_full_and_a_half_is_half():
    heights = re.findall(r'height="([\d.]+)"', widget("histogram", [2, 4, 0], "0123", "t"))
    assert [float(height) for height in heights] == [48, 96, 0]


def test_points_of_a_line_stand_where_the_ticks_say():
    ticks = [(0.0, "0"), (10.0, "ten")]
    text = widget(
        "line_chart", [("dashed", [(0, 0), (5, 10), (10, 0)])], "t", ticks, ticks, [(0, 5)]
    )
    path = re.search(r'<polyline class="dashed" points="([^"]*)"', text)[1]
    (x0, y0), (x1, y1), (x2, y2) = ([float(n) for n in p.split(",")] for p in path.split())
    assert y0 == y2 > y1 and x1 == (x0 + x2) / 2
    x, y = re.search(r'<circle cx="([\d.]*)" cy="([\d.]*)"', text).groups()
    assert (float(x), float(y)) == (x0, (y0 + y1) / 2)


def test_a_data_url_holds_the_bytes():
    url = pages.data_url(b"\xff\xd8photo")
    assert base64.b64decode(url.removeprefix("data:image/jpeg;base64,")) == b"\xff\xd8photo"


def test_a_name_that_the_context_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="title"):
        pages.render("report.html", sections=[], folder="")


def test_markdown_escapes_signs_and_line_ends():
    text = "a|b `c` <d> *e* [f](g) # \\\n| h |"
    escaped = r"a\|b \`c\` \<d\> \*e\* \[f\](g) \# \\ \| h \|"
    assert pages.escape_markdown(text) == escaped
    assert pages.escape_markdown(Markup("| a |")) == "| a |"


def test_seconds_are_shown_as_minutes_or_hours():
    durations = [formats.duration(seconds) for seconds in (59.6, 90, 3600, 5400)]
    assert durations == ["1 min 0 s", "1 min 30 s", "1 h 0 min", "1 h 30 min"]


def test_a_table_of_a_call_block_shows_each_row_and_marks_the_columns_of_numbers():
    source = """{% call widgets.table_of(["a", "b"], "sortable", "-n") %}
{% for row in rows %}<tr><td>{{ row[0] }}</td><td class="num">{{ row[1] | thousands }}</td></tr>
{% endfor %}{% endcall %}"""
    text = pages._ENVIRONMENT.from_string(source).render(rows=[(EVIL, 1234), ("x", None)])
    assert re.findall(r"<th(.*?)>", text.replace("<thead>", "")) == ["", ' class="num"']
    assert re.findall(r"<td.*?>(.*?)</td>", text) == [SAFE, "1,234", "x", "-"]
    assert text.count("<tr>") == text.count("</tr>") == 3


def test_numbers_have_separators_and_a_missing_number_is_a_dash():
    shown = [formats.thousands(number) for number in (1234, 0, None, True, "1234")]
    assert shown == ["1,234", "0", "-", True, "1234"]
