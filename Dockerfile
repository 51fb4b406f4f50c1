# syntax=docker/dockerfile:1
#
# The image of the sidecar and of its injector.
#
#   make image                 or, by hand:   docker build --tag llm-fusebox:0.1.0 .
#
# The base is pinned by version here. In production pin it by digest as well, so that the same build gives the same image:
#   docker buildx imagetools inspect python:3.11.14-slim-bookworm --format '{{.Manifest.Digest}}'
#   docker build --build-arg PYTHON_DIGEST=@sha256:... --tag llm-fusebox:0.1.0 .
# It is Python 3.11, which the tests and the measurements run on.
ARG PYTHON_VERSION=3.11.14
ARG PYTHON_VARIANT=slim-bookworm
ARG PYTHON_DIGEST=

# The environment: locked packages by their hashes (with what `traces` needs), Fusebox, bytecode, the bill of materials. Fails
# above 60 MB.
FROM python:${PYTHON_VERSION}-${PYTHON_VARIANT}${PYTHON_DIGEST} AS environment
WORKDIR /build
COPY requirements-image.lock requirements-dev.lock pyproject.toml README.md LICENSE ./
COPY proxy/ proxy/
COPY deploy/image/environment.py deploy/image/sbom.py deploy/image/
RUN ["python", "-m", "deploy.image.environment", "--into", "/opt/fusebox"]

FROM python:${PYTHON_VERSION}-${PYTHON_VARIANT}${PYTHON_DIGEST}
ARG PYTHON_VERSION
ARG PYTHON_VARIANT
ARG PYTHON_DIGEST
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="llm-fusebox" \
      org.opencontainers.image.description="A sidecar for LLM traffic: routes by policy, breaks circuits, falls back" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="python:${PYTHON_VERSION}-${PYTHON_VARIANT}${PYTHON_DIGEST}"
# The base has no bytecode of the standard library, and at run time there is no place for it: half a second at each start.
RUN ["python", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-x", "/(test|idlelib|lib2to3|site-packages|dist-packages)/", "/usr/local/lib/python3.11"]
COPY --from=environment /opt/fusebox /opt/fusebox

# Nothing is written at run time: the root filesystem may be read-only, without a writable /tmp.
ENV PATH=/opt/fusebox/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, for runAsNonRoot: the kubelet cannot tell of a name whether it is root's. Any other number does as well.
USER 65532:65532
WORKDIR /
# 4011: probes and metrics. 10250: the injector. The data port, 4010, is on loopback.
EXPOSE 4011 10250
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/fusebox/bin/fusebox"]
CMD ["serve", "--config=/etc/fusebox/config.yaml"]
