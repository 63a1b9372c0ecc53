"""Take the pictures of the front page from the folder of `make demo`, by headless Chromium.

  .venv/bin/python -m docs.pictures demo_output

report.png     scores of the run's report
grad_cam.png   heat maps of attr-extractor explain for a test photo
review.png     a contradicted cell on the review page
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from attr_extractor.enrichment.fill import predict
from attr_extractor.enrichment.review.server import ReviewOptions, Server
from attr_extractor.evaluation.explain.explain_photos import explain_photos
from attr_extractor.evaluation.explain.heat_map import side_by_side
from tests.web.browser import Page, chromium
from tests.web.running import running

PICTURES = Path(__file__).with_name("pictures")
WIDTH = 900  # pixels
ROWS = 400  # of the catalogue, for the review's queue
EXPLAINED = "p01162"  # a product of the test split
SHOWN = ("neck_type", "print_type", "pattern", "hem_shape", "belt", "sleeve_length")


def main() -> None:
    """Take all pictures."""
    demo = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, chromium() as page:
        _take_report(page, demo)
        _arrange_heat_maps(demo, Path(folder))
        _take_review(page, demo, Path(folder))


def _take_report(page: Page, demo: Path) -> None:
    _show(page, 1100, 832)
    page.driver.get((demo / "run" / "report.html").resolve().as_uri())
    _save(page, "report")


def _arrange_heat_maps(demo: Path, folder: Path) -> None:
    photo = demo / "catalogue" / "images" / f"{EXPLAINED}_0.jpg"
    explain_photos(demo / "run", [str(photo)], output_dir=folder / "explain")
    files = [next((folder / "explain").glob(f"*.{name}.*.jpg")) for name in SHOWN]
    sheet = side_by_side([Image.open(file) for file in files], 3)
    few_colours = sheet.quantize(160, kmeans=1)  # a third of the bytes
    few_colours.save(PICTURES / "grad_cam.png", optimize=True)


def _take_review(page: Page, demo: Path, folder: Path) -> None:
    lines = (demo / "catalogue" / "catalogue.csv").read_text(encoding="utf-8").splitlines()
    table, cells = folder / "catalogue.csv", folder / "cells.parquet"
    table.write_text("\n".join(lines[: ROWS + 1]) + "\n", encoding="utf-8")
    options = predict.PredictOptions()
    root = demo / "catalogue"
    predict.predict(demo / "model", table, folder / "filled.csv", root, options, cells)
    review = ReviewOptions(
        cells=cells,
        decisions=folder / "decisions.sqlite",
        image_root=root,
        model=demo / "model",
        run_dir=demo / "run",
        port=0,
    )
    with running(lambda: Server(review)) as server:
        _show(page, WIDTH, 640)
        page.open(server.address)
        _save(page, "review")


def _show(page: Page, width: int, height: int) -> None:
    """Give pages this size, scaled to `WIDTH`, without scroll bars."""
    size = {"width": width, "height": height, "deviceScaleFactor": WIDTH / width, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})


def _save(page: Page, name: str) -> None:
    """Save the visible part of the page."""
    picture = Image.open(io.BytesIO(page.driver.get_screenshot_as_png()))
    picture.convert("RGB").save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
