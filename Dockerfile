# One image for the API, the worker and the migrations; docker-compose.yml shows how they are started.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# Where PyTorch's CPU wheels come from; a mirror can stand in.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /build
COPY constraints.txt ./
# torch first and alone: it is the big layer and changes least.
RUN pip install --constraint constraints.txt --no-deps --index-url "$TORCH_INDEX" torch
COPY pyproject.toml README.md LICENSE ./
COPY octet octet
RUN pip install --constraint constraints.txt '.[server]'

FROM ${BASE_IMAGE}
RUN useradd --create-home --uid 10001 octet
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/octet
COPY store store
COPY api api
COPY worker worker
COPY server server
COPY migrations migrations
COPY alembic.ini ./
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/srv/octet \
    PYTHONUNBUFFERED=1 \
    OCTET_HOST=0.0.0.0 \
    OCTET_PORT=8000
USER octet
EXPOSE 8000
# Of the API; docker-compose.yml asks a worker in its own way.
HEALTHCHECK --interval=5s --timeout=5s --retries=12 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v1/health/live', timeout=3)"]
ENTRYPOINT ["python", "-m", "server"]
CMD ["api"]
