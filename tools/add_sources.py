"""The same as `attr-extractor add-sources`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("add-sources")
