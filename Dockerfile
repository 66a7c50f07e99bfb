# syntax=docker/dockerfile:1
# Two stages: wheels are installed where a compiler may be needed; the image that runs has none.
FROM python:3.13.9-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/mediastore
COPY requirements/service.txt requirements/service.txt
RUN /opt/mediastore/bin/pip install --require-hashes -r requirements/service.txt
COPY pyproject.toml README.md ./
COPY mediastore mediastore
COPY gc gc
RUN /opt/mediastore/bin/pip install --no-deps --no-build-isolation . \
    && /opt/mediastore/bin/pip uninstall --yes setuptools pip \
    && /opt/mediastore/bin/python -m compileall -q /opt/mediastore/lib

FROM python:3.13.9-slim-bookworm
LABEL org.opencontainers.image.title="mediastore" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 mediastore \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin mediastore
COPY --from=build /opt/mediastore /opt/mediastore
ENV PATH=/opt/mediastore/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MEDIASTORE_HTTP__HOST=0.0.0.0 \
    MEDIASTORE_HTTP__METRICS_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
# Alive, not ready: a database that is away for a while is no reason to restart every replica.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('MEDIASTORE_HTTP__PORT', '8080') + '/healthz', timeout=2)"]
ENTRYPOINT ["mediastore"]
CMD ["serve"]
