"""`python -m attr_extractor VERB`: the same as `attr-extractor VERB`."""

from attr_extractor.cli import main

if __name__ == "__main__":
    main()
