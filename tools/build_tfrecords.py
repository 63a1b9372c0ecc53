"""The same as `attr-extractor build`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("build")
