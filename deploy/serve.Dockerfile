# Image of TF Serving with an exported model; the context is the folder that contains the model's.
#   docker build -f deploy/serve.Dockerfile --build-arg MODEL=shop -t shop-serving shop/models
#   docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 shop-serving
# A model that was exported with --parts: add --tensorflow_intra_op_parallelism=1 to docker run.
FROM tensorflow/serving:2.15.1
ARG MODEL
COPY ${MODEL}/ /models/${MODEL}/
COPY ${MODEL}/deployment/ /deployment/
ENTRYPOINT ["tensorflow_model_server", \
  "--port=8500", \
  "--rest_api_port=8501", \
  "--model_config_file=/deployment/models.config", \
  "--enable_batching=true", \
  "--batching_parameters_file=/deployment/batching.config", \
  "--monitoring_config_file=/deployment/monitoring.config"]
