"""The same as `attr-extractor migrate`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("migrate")
