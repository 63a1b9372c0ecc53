# Image of Beam's workers, for build and predict with --runner=beam: pools, Dataflow, Flink, Spark.
#   docker build -f deploy/beam.Dockerfile -t registry/attr-extractor-beam .
#   docker push registry/attr-extractor-beam    # then: --beam=--sdk_container_image=..., see docs
FROM python:3.11-slim AS wheel
WORKDIR /source
COPY setup.cfg setup.py README.md LICENSE ./
COPY attr_extractor attr_extractor
COPY configs configs
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

#   docker run -p 50000:50000 -e AWS_ACCESS_KEY_ID ... registry/attr-extractor-beam --worker_pool
# the release of apache-beam in the constraints; the image's entry starts Beam's worker, or a pool
FROM apache/beam_python3.11_sdk:2.59.0
COPY .ci/constraints-3.11.txt /
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /constraints-3.11.txt \
      "$(echo /wheels/*.whl)[beam,gcs,s3]"
