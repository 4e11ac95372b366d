# chromepool and Chrome's headless shell on Debian. All about it: docs/howto/container.md
#
#   docker build -t chromepool .
#   docker run --security-opt seccomp=deploy/seccomp.json -p 127.0.0.1:9222:9222 chromepool
#
# Chrome's sandbox stays on. Docker's own seccomp profile forbids what it needs: without ours the
# daemon exits at once and says so. No capability is needed.
#
# It runs as an ordinary user, so sessions share one uid and /tmp, and where the container may not
# write its control groups, which is the rule, sessions are not capped one by one: cap the container
# (--memory, --pids-limit).
#
# The endpoint asks for no token unless tokens_file is set. Without one publish the port to 127.0.0.1
# or to a network you trust, never to the world.

FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libcap-dev python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# What changes seldom comes first: a change of the code makes one layer anew, not these.
# The secret is for machines with a package index of their own; without it pip uses the public one.
COPY deploy/build.lock deploy/requirements.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/chromepool \
    && /opt/chromepool/bin/pip install --no-cache-dir --require-hashes -r build.lock \
    && /opt/chromepool/bin/pip install --no-cache-dir --require-hashes --no-build-isolation \
        -r requirements.lock
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY chromepool chromepool
RUN /opt/chromepool/bin/pip install --no-cache-dir --no-index --no-deps --no-build-isolation . \
    && /opt/chromepool/bin/pip uninstall --yes setuptools pip

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates chromium-headless-shell fonts-liberation libcap2 python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/*.log \
    && useradd --uid 1000 --create-home chromepool \
    && install -d -o chromepool -g chromepool /var/lib/chromepool
COPY --from=build /opt/chromepool /opt/chromepool
# Both folders lie in /tmp: so that is all that must be writable where the root is read-only.
# /var/lib/chromepool is there for a volume, if the journal and kept profiles are to outlive this.
ENV PATH=/opt/chromepool/bin:$PATH \
    CHROMEPOOL_HOST=0.0.0.0 \
    CHROMEPOOL_RUNTIME_DIR=/tmp/chromepool/run \
    CHROMEPOOL_STATE_DIR=/tmp/chromepool/state
LABEL org.opencontainers.image.title="chromepool" \
    org.opencontainers.image.description="A Chrome of its own for every session" \
    org.opencontainers.image.version="0.2.0" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
USER 1000:1000
EXPOSE 9222
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["chromepool", "health"]
# It is its own init: it reaps every child, orphans too.
ENTRYPOINT ["chromepool"]
CMD ["serve"]
