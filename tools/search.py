r"""Finds the products that look like a photo, or serves a page that does.

Example:
  python tools/search.py --index=shop/index --model=shop/models/shop --photo=a.jpg \
      --filter=print=floral --filter='neck_type!=v-neck'
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.search import find, measure_search

F = flags.FLAGS
flags.DEFINE_string("index", None, "What build_index.py made.", required=True)
flags.DEFINE_string("model", None, "The model it was made with.", required=True)
flags.DEFINE_string("photo", None, "The photo to start from.")
flags.DEFINE_integer("count", 10, "Products, at most.", 1, 1000)
flags.DEFINE_multi_string("filter", [], "attribute=value, attribute!=value; a|b: either; repeat.")
flags.DEFINE_integer("port", None, "Instead: serve a page on this machine; 8700. 0: any.", 0, 65535)
flags.DEFINE_string("image_root", None, "For the page; default: as the index was built.")
flags.DEFINE_bool("measure", False, "Instead: recall and speed, exact beside approximate.")


def main() -> None:
    find.require_one(F.photo, F.port, F.measure)
    if F.port is not None:
        with errors.extra("search"):
            from attr_extractor.search import server
        server.run(server.Options(F.index, F.model, F.image_root, F.port))
    elif F.measure:
        print(measure_search.report(F.index, F.model))
    else:
        print(find.find(F.index, F.model, F.photo, F.count, F.filter))


if __name__ == "__main__":
    errors.run_program(main)
