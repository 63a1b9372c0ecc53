"""Parser of the validation report: tables, texts and photos by section, as a reader sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Page(HTMLParser):
    """The visible content of a page, by section."""

    source: str
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tables: dict[str, list[list[list[str]]]] = field(default_factory=dict)  # rows of cells
    texts: dict[str, str] = field(default_factory=dict)
    blocks: list[str] = field(default_factory=list)  # of <pre>
    photos: list[tuple[list[str], str, str]] = field(default_factory=list)  # row, title, class
    section: str = ""
    row: list[str] | None = None
    inside: str = ""

    def __post_init__(self):
        super().__init__()
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.inside = tag
        if tag == "section":
            self.section = found["id"]
        elif tag == "table":
            self.tables.setdefault(self.section, []).append([])
        elif tag == "tr":
            self.row = []
            self.tables[self.section][-1].append(self.row)
        elif tag in ("td", "th"):
            self.row.append("")
        elif tag == "pre":
            self.blocks.append("")
        elif found.get("class", "").startswith("photo "):
            self.photos.append((self.row, found["title"], found["class"].split()[1]))

    def handle_endtag(self, tag):
        self.inside = ""
        if tag == "table":
            self.row = None

    def handle_data(self, data):
        if self.inside in ("style", "script"):
            return
        self.texts[self.section] = self.texts.get(self.section, "") + data
        if self.inside == "pre":
            self.blocks[-1] += data
        if self.row:
            self.row[-1] += data

    def cells(self, section: str, first: str, table: int = 0) -> list[str]:
        """Return the cells of the row whose first cell is `first`, without that cell."""
        (found,) = (row for row in self.tables[section][table] if row[0].strip() == first)
        return [cell.strip() for cell in found[1:]]
