"""The same as `attr-extractor predict`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("predict")
