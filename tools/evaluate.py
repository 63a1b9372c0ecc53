"""The same as `attr-extractor evaluate`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("evaluate")
