# One image for the whole fleet: /usr/bin/fray-server, which it starts, and /usr/bin/fray-bot (load, recordings, operators'
# verbs). No shell, no package manager; runs as user 65532, and nothing in it needs to be written to.
#
#   make image                                   with docker, podman or buildah, whichever there is
#   docker build --build-arg REVISION=$(git rev-parse HEAD) -t fray .
#
# The test cluster gets the same tree from scripts/image.sh, which an engine is not needed for.

# Both stages are of the same Debian, so that the programs find the C library that they were linked with.
ARG RUST_VERSION=1.95
ARG DEBIAN=bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

# Not the slim one: the allocator's build wants make.
FROM docker.io/library/rust:${RUST_VERSION}-${DEBIAN} AS build
WORKDIR /src
COPY . .
# What `--version` and the metrics say; empty: it is not known.
ARG REVISION=
# 1: a server whose rules are of the next version, for tests of upgrades.
ARG NEXT_RULES=
# Crates and what was built of them stay on the machine that builds, between builds.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target,sharing=locked \
    FRAY_REVISION="${REVISION}" CARGO_TARGET_DIR=/target CARGO_INCREMENTAL=0 \
      cargo build --locked --release -p fray-server -p fray-bot \
    && if [ -n "${NEXT_RULES}" ]; then CARGO_TARGET_DIR=/target \
      cargo build --locked --release -p fray-server --example next_rules; fi \
    && NEXT_RULES="${NEXT_RULES}" scripts/image.sh tree /image /target/release

# Certificate authorities, time zones, the C library, user 65532.
# hadolint ignore=DL3006
FROM ${BASE}
ARG REVISION=
ARG VERSION=
LABEL org.opencontainers.image.title="Fray" \
      org.opencontainers.image.description="An authoritative multiplayer game server" \
      org.opencontainers.image.source="https://github.com/fray-game/fray" \
      org.opencontainers.image.documentation="https://github.com/fray-game/fray/blob/main/helm/README.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
USER 65532:65532
# Players, other servers, probes and metrics. The port of operators' verbs listens on loopback only.
EXPOSE 7777 7779 7780
ENTRYPOINT ["/usr/bin/fray-server"]
