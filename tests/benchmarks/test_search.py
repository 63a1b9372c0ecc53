"""Claims about `benchmarks/search.py`: its vectors are hard, and more cells find more of them."""

from __future__ import annotations

from benchmarks import search
from tests.enrichment.search.by_hand import recalls


def test_all_cells_find_what_exact_search_finds():
    found = recalls(search.made_up(3000))  # 46 cells
    assert found["128 cells"] >= 0.999  # 16 bits may change equal places
    assert 0.3 < found["8 cells"] <= found["32 cells"] <= found["128 cells"] == found["512 cells"]
