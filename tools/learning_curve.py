"""The same as `attr-extractor learning-curve`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("learning-curve")
