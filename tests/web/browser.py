"""Headless Chromium for tests of pages, with keys and clicks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SECONDS = 20  # maximum wait for a condition
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
    "disable-dev-shm-usage",
)


class Page:
    """A window of a browser."""

    def __init__(self, driver):
        self.driver = driver

    def find(self, css: str):
        """Return the first element that matches a selector."""
        return self.driver.find_element("css selector", css)

    def all(self, css: str):
        """Return all elements that match a selector."""
        return self.driver.find_elements("css selector", css)

    def text(self, css: str) -> str:
        """Return the visible text of an element."""
        return self.find(css).text

    def script(self, code: str, *arguments):
        """Return the result of a script."""
        return self.driver.execute_script(code, *arguments)

    def keys(self, *keys: str) -> None:
        """Press keys; the focused element receives them."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def click(self, css: str) -> None:
        """Wait until an element is visible, scroll to it and click it."""
        self.wait(lambda: self.find(css).is_displayed(), css)
        self.script("arguments[0].scrollIntoView({block: 'center'})", self.find(css))
        self.find(css).click()

    def wait(self, holds, what: str = "") -> None:
        """Wait until a condition holds; fail after SECONDS."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(
            self.driver, SECONDS, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        wait.until(lambda _: holds(), what)

    def wait_for(self, words: str, css: str = "#status") -> None:
        """Wait until an element, by default the status line, contains some words."""
        self.wait(lambda: words in self.text(css), f"{words!r} in {css}")

    def open(self, address: str, name: str = "Ada") -> None:
        """Open the review page, enter a name, and wait for the first item."""
        self.driver.get(address)
        self.wait(lambda: self.script("return document.querySelector('dialog').open"), "dialog")
        self.keys(name, "\ue007")
        self.wait(lambda: self.text("#progress").strip(), "progress")

    def product(self) -> str:
        """Return the product of the shown item."""
        return self.text("#facts").split("product ")[1].split(" ")[0]

    def colors(self, dark: bool) -> None:
        """Set the preferred colour scheme."""
        media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})

    def phone(self, width: int = 390, height: int = 844) -> None:
        """Emulate the screen of a phone, with touch and without a pointer."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def errors(self) -> list[str]:
        """Return the messages of the console, such as refused files and exceptions."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def chromium() -> Iterator[Page]:
    """Start a browser; skip the test if there is none."""
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
