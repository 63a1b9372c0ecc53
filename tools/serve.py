"""The same as `attr-extractor serve`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("serve")
