"""The same as `attr-extractor check`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("check")
