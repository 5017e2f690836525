# One base with everything installed, and an image for each process: `orchestration` (Dagster's web server, daemon and
# runs) and `api` (the lookup API). What they share is the home, a volume at /home/replenish/data.
#   docker build --target orchestration -t replenish/orchestration .
#   docker build --target api           -t replenish/api .
# A third image, `llm`, is for SageMaker: see its stage.
# Build argument TORCH: a uv torch backend, for example cpu; empty takes the registry's build, which is 4 GB larger.

ARG ENGINE_IMAGE=vllm/vllm-openai:v0.11.0

FROM python:3.11-slim-bookworm AS base
RUN apt-get update \
 && apt-get install --yes --no-install-recommends openjdk-17-jre-headless libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 replenish
WORKDIR /opt/replenish
RUN chown replenish:replenish /opt/replenish
USER replenish
ENV PATH=/opt/replenish/.venv/bin:$PATH \
    PYTHONPATH=/opt/replenish \
    PYTHONUNBUFFERED=1 \
    REPLENISH_HOME=/home/replenish/data \
    DAGSTER_HOME=/home/replenish/data/dagster

# Packages before code, so that a change of code does not install them again.
COPY --chown=replenish .ci/setup .ci/setup
COPY --chown=replenish requirements.lock ./
ARG TORCH=
RUN --mount=type=cache,target=/home/replenish/.cache,uid=10001 \
    UV_LINK_MODE=copy REPLENISH_TORCH=$TORCH .ci/setup

# Delta's jars go beside Spark's own: a volume mounted over the home must not hide them.
COPY --chown=replenish warehouse warehouse
RUN python -m warehouse.prepare --no-archive \
 && mv "$REPLENISH_HOME"/cache/jars/*.jar .venv/lib/python3.11/site-packages/pyspark/jars/ \
 && rm -rf "$REPLENISH_HOME" && mkdir "$REPLENISH_HOME"
COPY --chown=replenish . .
VOLUME /home/replenish/data


FROM base AS orchestration
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/server_info', timeout=4)"]
# The instance's folder is made in the volume at the start, not in the image.
ENTRYPOINT ["/bin/sh", "-c", "python -m orchestration.instance >/dev/null && exec \"$@\"", "--"]
CMD ["dagster-webserver", "-w", "workspace.yaml", "-h", "0.0.0.0", "-p", "3000"]


FROM base AS api
EXPOSE 8000
# Alive, not ready (/readyz): before the first publish there is nothing to serve, and no restart would mend that.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "warehouse.serving.api", "--host", "0.0.0.0", "--port", "8000"]


# The model's container for SageMaker Batch Transform: an OpenAI-compatible engine, and in front of it GET /ping and
# POST /invocations. SageMaker mounts the model at /opt/ml/model; REPLENISH_SERVED_MODEL is the name in REPLENISH_LLM.
#   docker build --target llm -t replenish/llm .
FROM ${ENGINE_IMAGE} AS llm
WORKDIR /opt/replenish
COPY requirements.lock ./
RUN grep -E '^(openai|httpx|granian|fastapi|pydantic|pydantic-settings|prometheus-client)==' requirements.lock > llm.txt \
 && python3 -m venv .venv && .venv/bin/pip install --no-cache-dir -r llm.txt
COPY warehouse warehouse
ENV PYTHONPATH=/opt/replenish PYTHONUNBUFFERED=1
EXPOSE 8080
# SageMaker appends `serve`. Both die together: a dead engine fails the ping, which ends the container.
ENTRYPOINT ["/bin/sh", "-c", "vllm serve /opt/ml/model --served-model-name \"$REPLENISH_SERVED_MODEL\" --port 8000 & exec .venv/bin/python -m warehouse.llm.container --engine http://127.0.0.1:8000/v1 --host 0.0.0.0 --port 8080"]
