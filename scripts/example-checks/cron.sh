# Sourced by scripts/examples: each line of the crontabs, as cron runs it, on two machines at once, then once more.

mkdir "$scratch/cron" "$scratch/cron/bin"
ln -s "$leasehold" "$scratch/cron/bin/leasehold"
for job in nightly-report update-packages rotate-logs sync-files; do
  cat > "$scratch/cron/bin/$job" <<'EOF'
#!/bin/sh
echo begin >> "$HOME/journal"
sleep 1.5
echo end >> "$HOME/journal"
EOF
  chmod +x "$scratch/cron/bin/$job"
done

# What cron gives a command: little, and the variables of the crontab.
as_cron() {
  local line=$1 store=$2 home=$3 variables=()
  mapfile -t variables < <(sed -n 's/^\([A-Z_]*=.*\)/\1/p' "$crontab")
  (cd "$home" && env -i HOME="$home" LOGNAME=root USER=root "${variables[@]}" \
    PATH="$scratch/cron/bin:/usr/bin:/bin" LEASEHOLD_STORE="$store" /bin/sh -c "$line" </dev/null)
}
# Runs a line twice at once; prints how often its job ran, and the two exit statuses, sorted. What it says would be mailed.
twice() {
  local home statuses=() status pid pids=()
  home=$(mktemp -d -p "$scratch/cron")
  : > "$home/journal"
  for _ in 1 2; do
    as_cron "$1" "$2" "$home" >>"$home/mail" 2>&1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    status=0
    wait "$pid" || status=$?
    statuses+=("$status")
  done
  [ ! -s "$home/mail" ] || fail "cron would mail: $(cat "$home/mail")"
  # Nothing overlaps: begin and end take turns.
  [ -z "$(awk '$1 == (NR % 2 ? "end" : "begin")' "$home/journal")" ] || fail "two at once: $1"
  echo "$(grep -c begin "$home/journal") $(printf '%s\n' "${statuses[@]}" | sort -n | tr '\n' ' ')"
}

for crontab in examples/cron/many-machines examples/cron/one-machine; do
  case $crontab in
    *many*) store=etcd://$etcd/cron ;;
    *) store=$scratch/cron/leases.db ;;
  esac
  lines=0
  while IFS= read -r entry; do
    # Five fields, then the command; a % would be a newline to cron.
    line=$(sed -E 's/^([^ ]+ +){5}//' <<<"$entry")
    [[ $line != *%* ]] || fail "a % in $line"
    case $line in
      *jobs/report*) first='1 0 0 ' again='0 0 0 ' ;; # one ran, and nobody in the same slot
      *jobs/update*) first='2 0 0 ' again='2 0 0 ' ;; # both, in turn
      *jobs/rotate*) first='1 0 75 ' again='1 0 75 ' ;;
      *jobs/sync*) first='1 0 0 ' again='1 0 0 ' ;;
      *) fail "nothing is known of $line" ;;
    esac
    got=$(twice "$line" "$store")
    [ "$got" = "$first" ] || fail "ran, and exit statuses: $got instead of $first: $line"
    got=$(twice "$line" "$store")
    [ "$got" = "$again" ] || fail "again: ran, and exit statuses: $got instead of $again: $line"
    say "cron: twice at once, then again: ran ${first%% *}, then ${again%% *}: $line"
    lines=$((lines + 1))
  done < <(grep -E '^[0-9*]' "$crontab")
  [ "$lines" -gt 0 ] || fail "no line in $crontab"
done
