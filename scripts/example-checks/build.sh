# Sourced by scripts/examples: builds the command as the image does, but for the profile: $leasehold.

build=$(sed -n 's/^RUN //p' "$dockerfile")
[[ $build == *' --release '* ]] || fail "$dockerfile: no release is built"
# Optimising changes nothing of what is checked here.
build="${build/ --release / --quiet }"
start=$SECONDS
bash -euc "$build"
leasehold=$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/debug/leasehold
say "build: in $((SECONDS - start)) s: $build"
# No interpreter, which is the dynamic loader, and nothing to be loaded by one.
! readelf --program-headers --dynamic "$leasehold" 2>&1 | grep -E 'INTERP|NEEDED' || fail "not static"
