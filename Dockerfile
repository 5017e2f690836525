# An image for each process. They share a Python, a user and nothing else: the lookup API carries neither Spark nor torch.
#   docker build --target orchestration -t replenish/orchestration .   Dagster's web server, daemon and runs; Spark
#   docker build --target api           -t replenish/api .             the lookup API
#   docker build --target llm           -t replenish/llm .             a model behind SageMaker's contract
# The home is a volume at /home/replenish/data. EMR Serverless has an image of its own: deploy/aws/emr.Dockerfile.
#
# Build arguments: TORCH, a uv torch backend, for example cpu (empty takes the registry's build, 4 GB larger);
# ENGINE_IMAGE, what the llm image stands on.

ARG ENGINE_IMAGE=vllm/vllm-openai:v0.11.0

FROM python:3.11.14-slim-bookworm AS python
RUN useradd --create-home --uid 10001 replenish \
 && install --directory --owner 10001 /opt/replenish /home/replenish/data
WORKDIR /opt/replenish
USER 10001
ENV PATH=/opt/replenish/.venv/bin:$PATH \
    PYTHONPATH=/opt/replenish \
    PYTHONUNBUFFERED=1 \
    REPLENISH_HOME=/home/replenish/data
# Packages before code, so that a change of code does not install them again.
COPY --chown=10001 .ci/setup .ci/setup
COPY --chown=10001 pyproject.toml requirements.lock ./


FROM python AS base
# hadolint ignore=DL3002,DL3066
USER root
# Not pinned: the release of Debian is, and its security updates must come in.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends openjdk-17-jre-headless libgomp1 \
 && rm -rf /var/lib/apt/lists/*
USER 10001
ENV DAGSTER_HOME=/home/replenish/data/dagster
ARG TORCH=
RUN --mount=type=cache,target=/home/replenish/.cache,uid=10001 \
    UV_LINK_MODE=copy REPLENISH_TORCH=$TORCH .ci/setup
# The jars go beside Spark's own: a volume mounted over the home must not hide them.
COPY --chown=10001 warehouse warehouse
RUN python -m warehouse.prepare --no-archive --s3 \
 && mv "${REPLENISH_HOME:?}"/cache/jars/*.jar .venv/lib/python3.11/site-packages/pyspark/jars/ \
 && rm -rf "${REPLENISH_HOME:?}"/*


FROM base AS orchestration
COPY --chown=10001 . .
VOLUME /home/replenish/data
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/server_info', timeout=4)"]
# The instance's folder is made in the volume at the start, not in the image.
ENTRYPOINT ["/bin/sh", "-c", "python -m orchestration.instance >/dev/null && exec \"$@\"", "--"]
CMD ["dagster-webserver", "-w", "workspace.yaml", "-h", "0.0.0.0", "-p", "3000"]


FROM python AS api
# Only the group `api` of pyproject.toml, at the lock's versions; what installed it is not needed any more.
RUN --mount=type=cache,target=/home/replenish/.cache,uid=10001 \
    UV_LINK_MODE=copy REPLENISH_GROUP=api .ci/setup \
 && python -m uv pip uninstall --quiet pip uv
COPY --chown=10001 warehouse warehouse
VOLUME /home/replenish/data
EXPOSE 8000
# Alive, not ready (/readyz): before the first publish there is nothing to serve, and no restart would mend that.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "warehouse.serving.api", "--host", "0.0.0.0", "--port", "8000"]


# The model's container for SageMaker Batch Transform: an OpenAI-compatible engine, and in front of it GET /ping and
# POST /invocations. SageMaker mounts the model at /opt/ml/model; REPLENISH_SERVED_MODEL is the name in REPLENISH_LLM.
FROM ${ENGINE_IMAGE} AS llm
# What the engine caches goes to the user's home.
RUN useradd --create-home --uid 10001 replenish \
 && install --directory --owner 10001 /opt/replenish
WORKDIR /opt/replenish
USER 10001
ENV PYTHONPATH=/opt/replenish \
    PYTHONUNBUFFERED=1 \
    HOME=/home/replenish
COPY --chown=10001 .ci/setup .ci/setup
COPY --chown=10001 pyproject.toml requirements.lock ./
RUN REPLENISH_GROUP=llm .ci/setup
COPY --chown=10001 warehouse warehouse
EXPOSE 8080
# A large model takes its time to load.
HEALTHCHECK --interval=30s --timeout=5s --start-period=600s --retries=3 \
  CMD [".venv/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ping', timeout=4)"]
# SageMaker appends `serve`. Both die together: a dead engine fails the ping, which ends the container.
ENTRYPOINT ["/bin/sh", "-c", "vllm serve /opt/ml/model --served-model-name \"$REPLENISH_SERVED_MODEL\" --port 8000 & exec .venv/bin/python -m warehouse.llm.container --engine http://127.0.0.1:8000/v1 --host 0.0.0.0 --port 8080"]
