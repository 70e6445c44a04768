# Sourced by scripts/setup: PostgreSQL 15 for the tests, the distribution's package. Its programs are found below
# $tools/postgres/15. No server is started, and none is set up: the tests start their own.

postgres_15() {
  local programs=/usr/lib/postgresql/15/bin
  if [ ! -x "$programs/initdb" ]; then
    has apt-get || fail "no PostgreSQL 15, and no apt-get to install it with: put its programs below $tools/postgres/15"
    fetch_package() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null; }
    as_root apt-get update -qq
    # The server's package would set one up and start it, unless its tools' settings, which come first, say otherwise.
    fetch_package postgresql-common
    as_root sed -i 's/^#\?create_main_cluster .*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    fetch_package postgresql-15
  fi
  mkdir -p "$tools/postgres"
  ln -sfn "$programs" "$tools/postgres/15"
}

# Whether the programs are there, of the line 15.
postgres_is() {
  postgres_version=$("$tools/postgres/15/postgres" --version 2>/dev/null) && [ -x "$tools/postgres/15/initdb" ] || return
  postgres_version=${postgres_version#postgres (PostgreSQL) }
  [[ $postgres_version == 15.* ]]
}

if ! postgres_is; then
  postgres_15
  postgres_is || fail "the PostgreSQL that was installed is none of the line 15: put one at $tools/postgres/15"
fi
