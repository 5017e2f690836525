# The image of the EMR Serverless application: EMR's own Spark, and this repository with its packages at the place where
# assets/emr.py looks for them. From the repository's root, with the release of services.yaml's EmrReleaseLabel:
#   docker build --file deploy/aws/emr.Dockerfile --build-arg TORCH=cpu \
#     --build-arg EMR_IMAGE=public.ecr.aws/emr-serverless/spark/emr-spark-8.1.0:latest --tag replenish/emr .
# The release must bring the Spark that requirements.lock names in its first two numbers, and Python 3.11 or 3.12.
# No default: the registry is asked for the release that the application runs, and for its latest patches.
ARG EMR_IMAGE
FROM ${EMR_IMAGE} AS emr
# hadolint ignore=DL3002,DL3066
USER root
WORKDIR /opt/replenish
ENV PYTHONPATH=/opt/replenish
COPY .ci/setup .ci/setup
COPY pyproject.toml requirements.lock ./
ARG TORCH=
RUN REPLENISH_TORCH=$TORCH .ci/setup
COPY warehouse warehouse
# Delta as locked, and the log store that commits by conditional writes. The client of S3 is EMR's own.
RUN export REPLENISH_HOME=/tmp/prepare REPLENISH_LAKE_URI=s3://any/lake \
 && .venv/bin/python -m warehouse.prepare --no-archive \
 && mv /tmp/prepare/cache/jars/delta-*.jar /tmp/prepare/cache/jars/replenish-*.jar /usr/lib/spark/jars/ \
 && rm -rf /tmp/prepare
COPY transforms transforms
COPY jobs jobs
# As EMR asks of every image.
# hadolint ignore=DL3066
USER hadoop:hadoop
