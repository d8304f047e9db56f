# deeploc-tf in a container: docker build -t deeploc-tf . && docker run --rm deeploc-tf doctor
# With `--build-arg EXTRAS=report,gpu` the image holds these extras; a GPU needs `docker run --gpus all`.
# Not built or run yet; only linted.
FROM python:3.11-slim

ARG EXTRAS=report
WORKDIR /opt/deeploc-tf
COPY setup.cfg pyproject.toml LICENSE ./
COPY docs/pypi.md docs/pypi.md
COPY deeploc_tf deeploc_tf
COPY tfrecords tfrecords
RUN pip install --no-cache-dir ".[${EXTRAS}]"

# What is written in a mounted folder belongs to whoever runs the container: docker run --user "$(id -u):$(id -g)".
RUN useradd --create-home --uid 1000 deeploc
USER 1000
WORKDIR /data
ENV TF_CPP_MIN_LOG_LEVEL=2
ENTRYPOINT ["deeploc-tf"]
CMD ["--help"]
