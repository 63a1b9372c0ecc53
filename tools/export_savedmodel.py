"""The same as `attr-extractor export`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("export")
