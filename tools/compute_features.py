"""The same as `attr-extractor features`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("features")
