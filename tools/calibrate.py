"""The same as `attr-extractor calibrate`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("calibrate")
