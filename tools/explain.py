"""The same as `attr-extractor explain`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("explain")
