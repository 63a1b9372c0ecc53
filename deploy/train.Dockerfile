# Image of training and of the steps of pipeline.py; with an NVIDIA GPU it needs only the driver.
#   docker build -f deploy/train.Dockerfile -t attr-extractor-train .
#   docker run --rm --gpus all -v "$PWD/shop:/shop" attr-extractor-train \
#     train --config=pretrained --records=/shop/records --run_dir=/shop/run
FROM python:3.11-slim AS wheel
WORKDIR /source
COPY setup.cfg setup.py README.md LICENSE ./
COPY attr_extractor attr_extractor
COPY configs configs
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
# without a GPU: --build-arg EXTRAS=gcs,pipeline,pretrained,s3,serving
ARG EXTRAS=gcs,gpu,pipeline,pretrained,s3,serving
COPY .ci/constraints-3.11.txt /
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /constraints-3.11.txt \
      "$(echo /wheels/*.whl)[$EXTRAS]"
ENTRYPOINT ["attr-extractor"]
