#!/bin/bash
# All that a quarter of an hour on an accelerator can say about training and serving:
#   benchmarks/accelerator.sh OUTPUT_FOLDER
# Run it in the environment of the package. Every bench has a time limit and its own file, so that
# what is finished is kept when the machine is taken away. PRODUCTS and MINUTES make it smaller,
# PYTHON names another interpreter.
set -u
out=${1:?usage: benchmarks/accelerator.sh OUTPUT_FOLDER}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.." || exit 1
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
failed=0

run() {  # run NAME MINUTES COMMAND...: its output is in NAME.txt, its messages are in NAME.log
  local name=$1 minutes=$2
  shift 2
  if timeout "${minutes}m" "$@" > "$out/$name.txt" 2> "$out/$name.log"; then
    printf '\n== %s\n' "$name"
    cat "$out/$name.txt"
  else
    printf '\n== %s failed or took longer than %s minutes: see %s\n' "$name" "$minutes" "$out/$name.log"
    failed=1
  fi
}

bench() {
  local name=$1 minutes=$2
  shift 2
  run "$name" "$minutes" "${PYTHON:-python}" tools/bench.py --what="$name" --records="$made/records" "$@"
}

run draw 2 "${PYTHON:-python}" -m attr_extractor draw --output_dir="$made/catalogue" \
  --num_products="${PRODUCTS:-6500}"
run build 2 "${PYTHON:-python}" -m attr_extractor build --catalogue="$made/catalogue/catalogue.csv" \
  --schema="$made/catalogue/schema.yaml" --output_dir="$made/records" --image_size=183 \
  --num_workers="$(nproc)" --split_fractions=0.94,0.03,0.03
bench accelerator "$((${MINUTES:-7} + 1))" --budget_minutes="${MINUTES:-7}" \
  --output="$out/accelerator.json"
bench augment 1 --config=configs/paper.yaml --set=data.batch_size=256
bench input 2 --count=20
bench predict 2
exit "$failed"
