"""The same as `attr-extractor qualify`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("qualify")
