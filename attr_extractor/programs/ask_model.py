r"""Ask a vision-language model for missing cells; write its answers as a label source.

The model is behind any OpenAI-compatible endpoint; the key is read from OPENAI_API_KEY. An estimate
of calls and tokens is printed first. Rerun the command to resume: nothing that was answered is
asked again.

Example:
  attr-extractor ask-model --catalogue=shop/catalogue.csv --schema=shop/schema.yaml \
      --output=shop/vlm.parquet --endpoint=http://localhost:8000/v1 --model=NAME \
      --sample=200 --all_cells
"""

from absl import flags

from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from attr_extractor.sources import vision_model
from attr_extractor.sources.endpoint import EndpointOptions

F = flags.FLAGS
flags.DEFINE_string("catalogue", None, "Table: .csv, .tsv, .parquet or .jsonl.", required=True)
flags.DEFINE_string("schema", None, "Schema file (YAML).", required=True)
flags.DEFINE_string("output", None, "Label source: a new .parquet or .csv file.", required=True)
flags.DEFINE_string("image_root", None, "Root of image paths; default: the table's folder.")
flags.DEFINE_string("endpoint", None, "Address, such as http://HOST/v1.", required=True)
flags.DEFINE_string("model", None, "Name of the model at the endpoint.", required=True)
flags.DEFINE_string("cache", None, "Folder of the model's replies; default: <output>.cache.")
flags.DEFINE_integer("attributes_per_call", 8, "Attributes of one call.", lower_bound=1)
flags.DEFINE_integer("image_size", 512, "Short side of a sent photo, in pixels.", lower_bound=32)
flags.DEFINE_integer("image_tokens", 800, "Tokens of a photo, for the estimate.", lower_bound=0)
flags.DEFINE_bool("all_cells", False, "Ask filled cells as well, to measure the model.")
flags.DEFINE_integer("sample", 0, "Ask this many products only; 0: all.", lower_bound=0)
flags.DEFINE_bool("logprobs", False, "Ask for token probabilities; not every endpoint has them.")
flags.DEFINE_float("temperature", None, "Sampling temperature; default: the endpoint's.")
flags.DEFINE_integer("concurrency", 8, "Calls at a time.", lower_bound=1)
flags.DEFINE_float("requests_per_minute", 0, "Limit of calls; 0: none.", lower_bound=0)
flags.DEFINE_float("timeout", 60, "Seconds of one try.", lower_bound=0.001)
flags.DEFINE_integer("retries", 5, "Repetitions after 429, 5xx and timeouts.", lower_bound=0)
flags.DEFINE_float("price_in", None, "Price of a million tokens in.", lower_bound=0)
flags.DEFINE_float("price_out", None, "Price of a million tokens out.", lower_bound=0)
flags.DEFINE_float("max_cost", None, "Stop before about this cost of one run.", lower_bound=0)


def main() -> None:
    model = EndpointOptions(
        endpoint=F.endpoint,
        model=F.model,
        timeout=F.timeout,
        retries=F.retries,
        requests_per_minute=F.requests_per_minute,
        logprobs=F.logprobs,
        temperature=F.temperature,
    )
    options = vision_model.AskOptions(
        attributes_per_call=F.attributes_per_call,
        image_size=F.image_size,
        image_tokens=F.image_tokens,
        all_cells=F.all_cells,
        sample=F.sample,
        concurrency=F.concurrency,
        price_in=F.price_in,
        price_out=F.price_out,
        max_cost=F.max_cost,
    )
    schema = Schema.read(F.schema)
    asked = (F.catalogue, schema, F.output, model, options, F.image_root, F.cache)
    summary = vision_model.ask_model(*asked)
    print(summary.summary(vision_model.rejects_file(F.output)))
    print(f"label source: {F.output}")
    if summary.stopped:
        raise InputError(
            f"stopped at --max_cost={F.max_cost:g}; the answers until then are in {F.output}: name "
            "a new --output and the same --cache to go on, nothing is asked twice"
        )
