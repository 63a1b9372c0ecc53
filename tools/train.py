"""The same as `attr-extractor train`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("train")
