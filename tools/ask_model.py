"""The same as `attr-extractor ask-model`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("ask-model")
