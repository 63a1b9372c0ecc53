"""The same as `attr-extractor index`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("index")
