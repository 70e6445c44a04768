# Sourced by scripts/examples: the pipelines' lines, two at once, and a deployment whose term is over.

ci=$scratch/ci
mkdir "$ci" "$ci/bin" "$ci/hosts"
ln -s "$leasehold" "$ci/bin/leasehold"
cp examples/ci/deploy.sh "$ci"
cp examples/ci/admit "$ci/bin"
cat > "$ci/bin/ssh" <<EOF
#!/bin/sh
# A machine is a folder.
cd "$ci/hosts/\$1" && shift && FENCE_FILE=\$PWD/fence exec sh -c "\$*"
EOF
cat > "$ci/bin/install-revision" <<EOF
#!/bin/sh
echo "begin \$1" >> "$ci/journal"
sleep 0.5
echo "\$1" > revision
echo "end \$1" >> "$ci/journal"
EOF
chmod +x "$ci"/bin/*
mkdir "$ci/hosts/web1.example" "$ci/hosts/web2.example"
pipeline() { # LINE REVISION [STORE]
  (cd "$ci" && env -i PATH="$ci/bin:$PATH" HOME="$ci" LEASEHOLD_STORE="${3:-$ci/leases.db}" GITHUB_REPOSITORY=a/b GITHUB_RUN_ID=1 \
    GITHUB_SHA="$2" CI_PROJECT_PATH=a/b CI_PIPELINE_ID=2 CI_COMMIT_SHA="$2" sh -e -c "$1" </dev/null)
}

for file in github gitlab-ci; do
  mapfile -t lines < <("$python" scripts/example-checks/manifest.py "examples/ci/$file.yml" shell)
  [ "${#lines[@]}" = 1 ] || fail "$file.yml: one line was expected: ${lines[*]}"
  : > "$ci/journal"
  pids=()
  for number in 1 2; do
    pipeline "${lines[0]}" "$file-$number" "etcd://$etcd/$file" 2>>"$ci/log" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || fail "$file.yml: $(cat "$ci/log")"; done
  # Two machines each, and never two deployments at once.
  [ "$(wc -l < "$ci/journal")" = 8 ] || fail "$file.yml: $(cat "$ci/journal")"
  awk 'NR % 2 { open = $2 } !(NR % 2) && $2 != open { exit 1 } NR % 4 == 1 { first = $2 } $2 != first { exit 1 }' "$ci/journal" ||
    fail "$file.yml: two at once: $(cat "$ci/journal")"
  rm -f "$ci"/hosts/*/fence*
  say "ci: two pipelines at once, one after the other: ${lines[0]}"
done

# One that was held up: its term is over, another has deployed since, and nothing that it does counts any more.
line='leasehold run deploy/prod -- ./deploy.sh'
pipeline "$line first" first
fence=$(cat "$ci/hosts/web1.example/fence")
pipeline "$line second" second
stale() { (cd "$ci" && PATH="$ci/bin:$PATH" LEASEHOLD_FENCE=$fence ./deploy.sh first 2>>"$ci/log"); }
expect 76 stale
for host in "$ci"/hosts/*; do
  [ "$(cat "$host/revision")" = second ] || fail "a term that is over has deployed"
  expect 64 env FENCE_FILE="$host/fence" "$ci/bin/admit" x true 2>>"$ci/log"
done
say "ci: a deployment whose term is over is refused by its fence"
