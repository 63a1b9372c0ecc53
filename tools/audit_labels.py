"""The same as `attr-extractor audit`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("audit")
