# Sourced by scripts/examples: the command as the first process of a root in which nothing else is.

root=$scratch/root
mkdir "$root" "$root/proc" "$root/dev" "$root/etc" "$root/data"
cp "$leasehold" "$root/leasehold"
: > "$root/dev/null"
# Container engines write it; without the loader there must be a way to read it.
echo "127.0.0.1 registry" > "$root/etc/hosts"
# Becomes what follows, as the first process there.
exec_in_image() {
  exec env -i LEASEHOLD_STORE=/data/leases.db unshare --pid --mount --fork --kill-child sh -euc '
    cd "$1"
    shift
    mount --bind /dev/null dev/null
    mount -t proc proc proc
    exec chroot . "$@"' sh "$root" "$@"
}
store=$root/data/leases.db
held() { "$leasehold" -q --store "$store" get "$1" >/dev/null; }
not_held() { ! held "$1"; }

listed=$(exec_in_image /leasehold run jobs/first -- /leasehold list)
[[ $listed == jobs/first$'\t'* ]] || fail "not listed: $listed"
say "container: as the first process of an empty root: $listed"

# A registry by name: what is static resolves names, too.
by_name=etcd://registry:${etcd#*:}/container
listed=$(exec_in_image /leasehold --store "$by_name" run jobs/second -- /leasehold --store "$by_name" list)
[[ $listed == jobs/second$'\t'* ]] || fail "by name: not listed: $listed"

# The first process of the image, and of the pods, is leasehold: with a command that is there.
mapfile -t entry < <("$python" -c '
import json, re, sys
text = open(sys.argv[1]).read()
print("\n".join(json.loads(re.search("^ENTRYPOINT (.*)", text, re.M)[1])))' "$dockerfile")
[ "${entry[-1]}" = -- ] || fail "$dockerfile: where does the command begin?"
(exec_in_image "${entry[@]}" /leasehold list) | grep -q ^services/reports || fail "$dockerfile: ${entry[*]}"
mapfile -t pod < <("$python" scripts/example-checks/manifest.py examples/container/deployment.yaml arguments)
[ "${pod[-2]}" = -- ] || fail "deployment.yaml: where does the command begin?"
(exec_in_image "${pod[@]:0:${#pod[@]}-1}" /leasehold list) | grep -q ^services/reports || fail "deployment.yaml: ${pod[*]}"
say "container: ${entry[*]} ...; ${pod[*]}"

# The ids of all that a process has started.
below() { local child; for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do echo "$child"; below "$child"; done; }
leads() {
  exec_in_image /leasehold -q lead services/reports --period 3s -- /leasehold watch --prefix '' \
    >/dev/null 2>>"$scratch/container.log" &
  outer=$!
  started+=("$outer")
  eventually "the first process is there" first_of "$outer"
  eventually "it leads" held services/reports
}
# TERM, as `docker stop` sends it: the command ends, the lease is released, the exit status is 0.
leads
kill -TERM "$first"
expect 0 wait "$outer"
not_held services/reports || fail "TERM: the lease is kept"
ended=$("$leasehold" -q --store "$store" get services/reports --json || true)
[[ $ended == *'"released"'* ]] || fail "TERM: not released: $ended"
say "container: TERM of the first process: ended with 0, released"
# KILL, as for want of memory: the kernel ends all of the container, and the lease runs out.
leads
at_work() { [ "$(below "$first" | wc -l)" = 2 ]; }
eventually "guardian and command are there" at_work
all=$(echo "$first"; below "$first")
kill -KILL "$first"
# What is left is unshare, whose own status says nothing.
wait "$outer" 2>/dev/null || true
for pid in $all; do [ ! -e "/proc/$pid" ] || fail "KILL: $pid lives on"; done
at=$(now)
"$leasehold" -q --store "$store" acquire services/reports --wait 5s >/dev/null
say "container: KILL of the first process: $(wc -w <<<"$all") processes gone, the lease free after $(since "$at")"
