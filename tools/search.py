"""The same as `attr-extractor search`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("search")
