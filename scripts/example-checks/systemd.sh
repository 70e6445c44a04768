# Sourced by scripts/examples: the units, verified, and then run by a systemd of their own: the first process of its own
# namespaces, with a cgroup of its own, everything of this machine read-only. Two copies of a unit stand for two machines.

units=$scratch/systemd
mkdir "$units" "$units/bin" "$units/verify" "$units/units" "$units/units/service.d"
cp "$leasehold" "$units/bin/leasehold"
for job in reports nightly cleanup; do
  printf '#!/bin/sh\necho "%s begin $LEASEHOLD_FENCE $(sed -n s/^0:://p /proc/self/cgroup)"\n%s\n' \
    "$job" "$([ "$job" = reports ] && echo 'exec sleep 1000' || echo 'sleep 1; echo "'"$job"' end"')" > "$units/bin/$job"
done
chmod -R a+rX "$units"
chmod +x "$units"/bin/*

# With programs that are there, nothing is left to complain of.
for unit in examples/systemd/*.{service,timer}; do
  sed "s|/usr/local/bin/|$units/bin/|g" "$unit" > "$units/verify/${unit##*/}"
done
said=$(systemd-analyze verify --man=no "$units"/verify/* 2>&1) || fail "systemd-analyze verify: $said"
[ -z "$said" ] || fail "systemd-analyze verify: $said"
said=$(systemd-analyze calendar "$(sed -n 's/^OnCalendar=//p' examples/systemd/nightly.timer)") || fail "$said"
say "systemd: verified: $(cd examples/systemd && echo *.*)"

for number in 1 2; do
  cp examples/systemd/leader.service "$units/units/leader-$number.service"
  cp examples/systemd/nightly.service "$units/units/nightly-$number.service"
done
cp examples/systemd/cleanup.service "$units/units"
# What distributions bring: nothing of it is needed here.
for target in default sysinit basic network-online shutdown; do
  printf '[Unit]\nDefaultDependencies=no\n' > "$units/units/$target.target"
done
cat > "$units/units/service.d/here.conf" <<EOF
[Service]
Environment=LEASEHOLD_STORE=etcd://$etcd/systemd
StandardOutput=append:/run/examples/log
StandardError=append:/run/examples/log
EOF

# Its own cgroup, below this process's: systemd's will be the root of it.
tree=$(findmnt --noheadings --types cgroup2 --output TARGET | head -n 1)
[ -n "$tree" ] || fail "no cgroup v2 is mounted"
own_cgroup=$tree$(sed -n 's/^0:://p' /proc/self/cgroup)/leasehold-examples-$$
mkdir "$own_cgroup"
remove_cgroup() {
  local tries=0
  until find "$own_cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || [ "$tries" = 100 ]; do
    tries=$((tries + 1))
    sleep 0.05
  done
}
(
  echo "$BASHPID" > "$own_cgroup/cgroup.procs"
  exec unshare --pid --mount --cgroup --ipc --uts --fork --kill-child sh -euc '
    mount -t proc proc /proc
    mount --bind /proc/sys /proc/sys
    mount -o remount,bind,ro /proc/sys
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t tmpfs tmpfs /run
    mkdir /run/examples
    mount --bind "$1" /run/examples
    mount --bind "$1/bin" /usr/local/bin
    mount -t tmpfs tmpfs /var/tmp
    mount -t tmpfs tmpfs /tmp
    mount -o remount,bind,ro /
    export container=other SYSTEMD_UNIT_PATH=/run/examples/units
    exec "$(command -v systemd || echo /lib/systemd/systemd)" --system --log-target=console --log-level=warning' sh "$units"
) </dev/null >"$units/systemd.log" 2>&1 &
outer=$!
started+=("$outer")
eventually "systemd's first process is there" first_of "$outer"
inside() { nsenter --target "$first" --mount --pid --cgroup --ipc --uts "$@"; }
manager_is_up() { [[ $(inside systemctl is-system-running 2>/dev/null) == @(running|degraded) ]]; }
eventually "systemd is up" manager_is_up
shows() { inside systemctl show --value --property "$2" "$1"; }
is() { [ "$(shows "$1" "$2")" = "$3" ]; }
like() { [[ $(shows "$1" "$2") == $3 ]]; }
store=etcd://$etcd/systemd

# The service: started means that it stands, and the status says who leads.
inside systemctl start leader-1.service leader-2.service
leader_of() {
  for number in 1 2; do
    if like "leader-$number.service" StatusText 'leads services/reports, fence *'; then
      leader=leader-$number.service other=leader-$((3 - number)).service
      return
    fi
  done
  return 1
}
eventually "one leads" leader_of
eventually "the other waits" is "$other" StatusText 'waits for services/reports'
begun() { grep -qs "^reports begin .* /system.slice/$1/leasehold-" "$units/log"; }
eventually "its command is in a cgroup of its own" begun "$leader"
is "$leader" NRestarts 0 || fail "$leader was restarted"
at=$(now)
inside systemctl stop "$leader"
eventually "the other leads" like "$other" StatusText 'leads services/reports, fence *'
is "$leader" ActiveState inactive || fail "stop: $(shows "$leader" ActiveState), $(shows "$leader" Result)"
say "systemd: leader.service: $leader led, its command in a cgroup of its own; $other leads $(since "$at") after systemctl stop"

# Its main process is killed: all of it goes, and systemd starts it anew.
main=$(shows "$other" MainPID)
inside kill -KILL "$main"
group=$own_cgroup/system.slice/$other
restarting() { is "$other" SubState auto-restart; }
eventually "it is to be restarted" restarting
[ ! -e "$group" ] || [ -z "$(find "$group" -name cgroup.procs -exec cat {} +)" ] || fail "KILL: something of $other lives on"
inside systemctl stop "$other"
say "systemd: leader.service: KILL of the main process: nothing of it was left, to be restarted"

# The job: one runs, the other is content; and in the same slot nobody. `systemctl start` waits for the end of such a service, and
# fails if it does.
inside systemctl start nightly-1.service nightly-2.service || fail "nightly: failed"
grep -q 'jobs/nightly is held by' "$units/log" || fail "nightly: nobody was busy"
inside systemctl start nightly-1.service || fail "nightly: failed in the same slot"
grep -q 'jobs/nightly has run in this slot' "$units/log" || fail "nightly: nobody skipped"
[ "$(grep -c '^nightly begin' "$units/log")" = 1 ] || fail "nightly: not once"
grep -q '^nightly end' "$units/log" || fail "nightly: it did not end"
say "systemd: nightly.service: on two at once and once more: ran once, busy once, skipped once, none failed"

# The condition: skipped while somebody holds the other name.
fence=$("$leasehold" -q --store "$store" acquire maintenance/site --period 1m --note "new disks")
inside systemctl start cleanup.service || fail "a condition that does not hold is a failure"
grep -q 'new disks' "$units/log" || fail "cleanup: does not say who holds the other name"
grep -q '^cleanup begin' "$units/log" && fail "cleanup: ran in spite of its condition"
"$leasehold" -q --store "$store" release maintenance/site --fence "$fence"
inside systemctl start cleanup.service || fail "cleanup: failed"
grep -q '^cleanup end' "$units/log" || fail "cleanup: did not run"
# Who cannot know fails, and does not run.
sed -i "s|etcd://$etcd|etcd://127.0.0.1:1|" "$units/units/service.d/here.conf"
inside systemctl daemon-reload
! inside systemctl start cleanup.service 2>/dev/null || fail "cleanup: does not fail without a registry"
[ "$(grep -c '^cleanup begin' "$units/log")" = 1 ] || fail "cleanup: ran without a registry"
say "systemd: cleanup.service: skipped while the other name is held, run afterwards, failed without a registry"
kill -KILL "$outer"
wait "$outer" 2>/dev/null || true
