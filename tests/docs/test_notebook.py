"""Tests of the notebook as it is committed; the build of the site executes it."""

import json

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "catalogue_to_answers.ipynb"


def test_the_notebook_is_committed_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 10
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"]] == []
