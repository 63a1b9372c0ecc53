"""The same as `attr-extractor mine-text`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("mine-text")
