"""The same as `attr-extractor export-decisions`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("export-decisions")
