"""The same as `attr-extractor infer`."""

from attr_extractor import cli

if __name__ == "__main__":
    cli.run("infer")
