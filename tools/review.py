"""The same as `attr-extractor review`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("review")
