#!/bin/sh
# Deploys a revision: leasehold run deploy/prod -- ./deploy.sh REVISION
set -eu
revision=$1
hosts=${HOSTS:-web1.example web2.example}
fence=${LEASEHOLD_FENCE:?not under leasehold run}

# First the mark, everywhere: from here on no earlier deployment changes anything. Only then does it look at what is there.
for host in $hosts; do
  ssh "$host" admit "$fence" true
done
for host in $hosts; do
  ssh "$host" admit "$fence" install-revision "$revision"
done
