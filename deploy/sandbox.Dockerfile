# The sandbox image for those who can pull images: docker build -t onhand-sandbox -f deploy/sandbox.Dockerfile deploy
# deploy/sandbox-image.sh makes the same without a registry. The action server is not in it: the worker mounts its own.
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        python3 python3-venv git ca-certificates make patch less procps tzdata unzip xz-utils \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 box \
    && useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash box \
    && install -d -o 1000 -g 1000 /workspace

ENV LANG=C.UTF-8
USER 1000:1000
WORKDIR /workspace
