"""Self-contained HTML pages, and Markdown pages, from Jinja2 templates.

All text is escaped by Jinja's autoescape, so sellers' text stays text. Pages contain no date and
nothing random: the same content gives the same bytes. CSS and JavaScript are files in `static`;
reports embed them, so that a report is one file that needs no server.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from attr_extractor.web import formats

_FOLDER = Path(__file__).parent


def static(name: str) -> str:
    """Return the text of a file in `static`."""
    return (_FOLDER / "static" / name).read_text(encoding="utf-8")


def data_url(jpeg: bytes) -> str:
    """Return a JPEG file as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def render(template: str, **context: Any) -> str:
    """Render a template as HTML text.

    Templates use `widgets` (the macros of widgets.html), `embed` (a static file as markup) and the
    functions of `formats` as filters. A name that the context lacks raises jinja2.UndefinedError.

    Args:
      template: path below `templates`.
      context: the variables of the template.
    """
    return _ENVIRONMENT.get_template(template).render(**context)


def render_markdown(template: str, **context: Any) -> str:
    """Render a template as Markdown; the value of every expression is escaped, see `render`."""
    return _MARKDOWN_ENVIRONMENT.get_template(template).render(**context)


def escape_markdown(value: Any) -> Markup:
    """Escape text: it must not break a table or be read as Markdown or HTML."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    for sign in "\\`*_{}[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return Markup(" ".join(text.split()))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (
        *(formats.thousands, formats.figure, formats.interval, formats.percent),
        *(formats.share, formats.share_interval, formats.p_value, formats.duration),
    ):
        environment.filters[function.__name__] = function
    environment.filters["data_url"] = data_url
    environment.globals["embed"] = lambda name: Markup(static(name))  # our own files
    environment.globals["widgets"] = environment.get_template("widgets.html").module
    return environment


_ENVIRONMENT = _environment()
_MARKDOWN_ENVIRONMENT = _ENVIRONMENT.overlay(finalize=escape_markdown)
