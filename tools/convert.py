"""The same as `attr-extractor convert`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("convert")
