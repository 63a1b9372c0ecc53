"""The same as `attr-extractor drift`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("drift")
