#!/usr/bin/env bash
# The image of servers and bots.
#   scripts/image.sh                    builds it with docker, podman or buildah
#   scripts/image.sh tree DIR [FROM]    what is in it, laid out in DIR, from programs that are built (FROM: target/release):
#                                       for whoever makes images without an engine
# Variables:
#   IMAGE      its name and tag (fray:dev); PUSH=1 pushes it afterwards
#   TAGS       more names for it, separated by spaces
#   ENGINE     docker, podman or buildah, if the first one that answers is not the right one
#   PLATFORM   as in linux/arm64, for an engine that can
#   BASE       what it stands on, a glibc of the same Debian or a newer one (see Dockerfile)
#   NEXT_RULES=1  a server whose rules are of the next version, for tests of upgrades
#   REVISION   what `--version` says it was built from (the commit; with -dirty if that is not all)
set -euo pipefail

fail() { echo "image: $*" >&2; exit 1; }

# Within the build there is no repository around, and no git.
tree() { # DIR FROM
  local program from
  mkdir -p "$1/usr/bin" "$1/usr/share/doc/fray"
  for program in fray-server fray-bot; do
    from=$2/$program
    [ "$program${NEXT_RULES:-}" != fray-server1 ] || from=$2/examples/next_rules
    [ -x "$from" ] || fail "$from is not built: cargo build --release -p fray-server -p fray-bot"
    # The names of functions stay: a panic says where.
    strip --strip-debug -o "$1/usr/bin/$program" "$from"
    chmod 755 "$1/usr/bin/$program"
  done
  cp LICENSE "$1/usr/share/doc/fray/"
}

# An engine that is installed may have nobody behind it.
answers() {
  case $1 in
    buildah) type -P buildah >/dev/null ;;
    *) type -P "$1" >/dev/null && "$1" info >/dev/null 2>&1 ;;
  esac
}

engine() {
  local name
  for name in ${ENGINE:-docker podman buildah}; do
    if answers "$name"; then echo "$name"; return; fi
  done
  fail "${ENGINE:-docker, podman, buildah}: not installed, or nobody answers; an image needs one of them"
}

revision() {
  git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || true
}

build() {
  local image=${IMAGE:-fray:dev} name arguments version
  engine=$(engine)
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
  arguments=(--build-arg "REVISION=${REVISION-$(revision)}" --build-arg "VERSION=$version")
  [ -z "${BASE:-}" ] || arguments+=(--build-arg "BASE=$BASE")
  [ -z "${NEXT_RULES:-}" ] || arguments+=(--build-arg NEXT_RULES=1)
  [ -z "${PLATFORM:-}" ] || arguments+=(--platform "$PLATFORM")
  for name in $image ${TAGS:-}; do arguments+=(--tag "$name"); done
  echo "image: $image, by $engine" >&2
  # Cache mounts need BuildKit, which old clients have to be asked for.
  DOCKER_BUILDKIT=1 "$engine" build --file Dockerfile "${arguments[@]}" .
  [ "${PUSH:-}" != 1 ] || for name in $image ${TAGS:-}; do "$engine" push "$name"; done
}

if [ "${1:-}" = tree ]; then
  dir=${2:?where to} from=${3:-${CARGO_TARGET_DIR:-target}/release}
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd) from=$(cd "$from" && pwd)
  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  tree "$dir" "$from"
else
  [ $# = 0 ] || fail "unknown: $1"
  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  build
fi
