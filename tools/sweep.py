"""The same as `attr-extractor sweep`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("sweep")
