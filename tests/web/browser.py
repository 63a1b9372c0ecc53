"""Headless Chromium for tests of the page, and what a reviewer does with keys and clicks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SECONDS = 20  # waited for what a step changes
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
    "disable-dev-shm-usage",
)


class Page:
    """One window with a browser of its own."""

    def __init__(self, driver):
        self.driver = driver

    def find(self, css: str):
        """The first element that a selector finds."""
        return self.driver.find_element("css selector", css)

    def all(self, css: str):
        """Every element that a selector finds."""
        return self.driver.find_elements("css selector", css)

    def text(self, css: str) -> str:
        """What is seen of an element."""
        return self.find(css).text

    def script(self, code: str, *arguments):
        """What a script returns."""
        return self.driver.execute_script(code, *arguments)

    def keys(self, *keys: str) -> None:
        """Keys pressed wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def click(self, css: str) -> None:
        """A click on what is seen; waits until it can be seen, and scrolls to it."""
        self.wait(lambda: self.find(css).is_displayed(), css)
        self.script("arguments[0].scrollIntoView({block: 'center'})", self.find(css))
        self.find(css).click()

    def wait(self, holds, what: str = "") -> None:
        """Until a condition holds; fails after SECONDS."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(
            self.driver, SECONDS, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        wait.until(lambda _: holds(), what)

    def wait_for(self, words: str, css: str = "#status") -> None:
        """Until an element, the status line by default, holds some words."""
        self.wait(lambda: words in self.text(css), f"{words!r} in {css}")

    def open(self, address: str, name: str = "Ada") -> None:
        """Opens the page as somebody who says their name, and waits for the first item."""
        self.driver.get(address)
        self.wait(lambda: self.script("return document.querySelector('dialog').open"), "dialog")
        self.keys(name, "\ue007")
        self.wait(lambda: self.text("#progress").strip(), "progress")

    def product(self) -> str:
        """The product asked about."""
        return self.text("#facts").split("product ")[1].split(" ")[0]

    def colors(self, dark: bool) -> None:
        """Light or dark, as the system of a reviewer is set."""
        media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})

    def phone(self, width: int = 390, height: int = 844) -> None:
        """The screen of a phone, with touch and no pointer."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def errors(self) -> list[str]:
        """What the browser complained of, refused files and scripts among it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def chromium() -> Iterator[Page]:
    """A fresh browser; skips where this machine has none."""
    program = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    driver_program = shutil.which("chromedriver")
    if program is None or driver_program is None:
        pytest.skip("no chromium and chromedriver on this machine: apt-get install chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        for option in (*_OPTIONS, f"user-data-dir={profile}", "window-size=1280,900"):
            options.add_argument(f"--{option}")
        service = webdriver.ChromeService(driver_program, log_output=os.devnull)
        driver = webdriver.Chrome(options, service)
        try:
            yield Page(driver)
        finally:
            driver.quit()
