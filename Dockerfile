# chromepool and Chrome's headless shell on Debian.
#
#   docker build -t chromepool .
#   docker run --security-opt seccomp=chrome.json -p 127.0.0.1:9222:9222 chromepool
#
# Chrome's sandbox stays on, so the container engine must allow user namespaces: its seccomp profile
# has to permit clone and unshare of them (docs/howto/sandbox.md), and the host must not forbid them.
# Without that the daemon exits at once and says so. No capability is needed.
#
# It runs as an ordinary user, so sessions share one uid and /tmp, and where the container may not
# write its control groups, which is the rule, sessions are not capped one by one: cap the container
# (--memory, --pids-limit).
#
# The endpoint asks for no token unless tokens_file is set. Without one publish the port to 127.0.0.1
# or to a network you trust, never to the world. Clients that reach it by a name, such as a service name of Compose, need that name in
# allowed_hosts: -e CHROMEPOOL_ALLOWED_HOSTS=chromepool

FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libcap-dev python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY chromepool chromepool
RUN python3 -m venv /opt/chromepool && /opt/chromepool/bin/pip install --no-cache-dir .

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates chromium-headless-shell fonts-liberation libcap2 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home chromepool \
    && install -d -o chromepool -g chromepool /run/chromepool /var/lib/chromepool
COPY --from=build /opt/chromepool /opt/chromepool
ENV PATH=/opt/chromepool/bin:$PATH \
    CHROMEPOOL_RUNTIME_DIR=/run/chromepool \
    CHROMEPOOL_STATE_DIR=/var/lib/chromepool
USER chromepool
EXPOSE 9222
# The control socket is in the container only: docker exec ... chromepool ls
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["chromepool", "ls"]
# It is its own init: it reaps every child.
ENTRYPOINT ["chromepool", "serve", "--host", "0.0.0.0"]
