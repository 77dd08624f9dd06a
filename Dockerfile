# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The caches stay between builds, so that a change of the code does not build the dependencies again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --profile dist --bin openai-backend \
    && cp target/dist/openai-backend /openai-backend

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin backend \
    && install --directory --owner=backend --mode=0700 /data
COPY --from=build /openai-backend /usr/local/bin/openai-backend
USER backend
WORKDIR /data
ENV HOST=0.0.0.0 \
    PORT=3000 \
    DATA_DIR=/data
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s CMD ["openai-backend", "--health"]
ENTRYPOINT ["openai-backend"]
