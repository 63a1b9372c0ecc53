"""The same as `attr-extractor draw`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("draw")
