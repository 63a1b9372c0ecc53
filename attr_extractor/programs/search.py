r"""Find the products most similar to a photo, or serve a search page.

Example:
  attr-extractor search --index=shop/index --model=shop/models/shop --photo=a.jpg \
      --filter=print=floral --filter='neck_type!=v-neck'
"""

from absl import flags

from attr_extractor import errors
from attr_extractor.enrichment.search import measure_search, query

F = flags.FLAGS
flags.DEFINE_string("index", None, "Index folder of attr-extractor index.", required=True)
flags.DEFINE_string("model", None, "Model that the index was built with.", required=True)
flags.DEFINE_string("photo", None, "Query photo.")
flags.DEFINE_integer("count", 10, "Maximum products.", 1, 1000)
flags.DEFINE_multi_string(
    "filter", [], "attribute=value, attribute!=value; a|b: either; repeatable."
)
flags.DEFINE_integer(
    "port", None, "Serve a page instead, e.g. on 8700; 0: any free port.", 0, 65535
)
flags.DEFINE_string("image_root", None, "For the page; default: that of the index.")
flags.DEFINE_bool("measure", False, "Measure recall and speed instead, exact and approximate.")


def main() -> None:
    if (F.photo is not None) + (F.port is not None) + F.measure != 1:
        raise errors.InputError("pass exactly one of --photo, --port and --measure")
    if F.port is not None:
        with errors.extra("search"):
            from attr_extractor.enrichment.search import server
        server.run(server.SearchOptions(F.index, F.model, F.image_root, F.port))
    elif F.measure:
        print(measure_search.report(F.index, F.model))
    else:
        print(query.nearest_as_text(F.index, F.model, F.photo, F.count, F.filter))
