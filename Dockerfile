# A Texto node: built in one image, run in another that holds little more than the binary.

FROM rust:1-bookworm AS build
WORKDIR /texto
COPY . .
# The caches outlive a build, so that the next one compiles only what has changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/texto/target \
    cargo build --release --locked --bin texto && cp target/release/texto /usr/local/bin/texto

FROM debian:bookworm-slim
# For rediss://, which checks Redis's certificate.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/texto /usr/local/bin/texto
# A number, so that an orchestrator can see that it is not root. It owns nothing: a node writes no files.
USER 10001:10001
ENV PORT=8398
EXPOSE 8398
# The node closes its connections, spread over its drain time, and ends.
STOPSIGNAL SIGTERM
# Bash opens the connection by itself, so the image needs no HTTP client for this.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$PORT && printf 'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r status <&3 && [[ $status == *' 200 '* ]]"]
ENTRYPOINT ["texto"]
