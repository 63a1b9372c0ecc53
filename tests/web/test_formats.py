"""Test the formats of shares, intervals and p-values in web/formats.py."""

from __future__ import annotations

from attr_extractor.web import formats


def test_shares_have_one_decimal():
    assert formats.share(0.12345) == "12.3 %"
    assert formats.share(None) == "-"
    assert formats.share_interval((0.05, 0.1)) == "5.0 to 10.0 %"
    assert formats.share_interval(None) == "-"


def test_small_p_values_are_a_bound():
    assert formats.p_value(0.0123) == "0.012"
    assert formats.p_value(0.00099) == "< 0.001"
