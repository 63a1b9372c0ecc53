"""The same as `attr-extractor simulate-review`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("simulate-review")
