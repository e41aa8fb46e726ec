#!/bin/sh
# The head of a cluster, and the training on it. Environment: RUN, the run's name; WORKERS, how many are wanted; ARGS,
# flags of scripts/launch.py for a new run; PORT, on which Ray listens.
set -eu
# Ray would take a third of the machine's memory for its objects, which is more than a container's /dev/shm has.
ray start --head --port="${PORT:-6379}" --num-cpus=0 --object-store-memory=1000000000 --include-dashboard=false \
  --disable-usage-stats
where="--address 127.0.0.1:${PORT:-6379} --workers ${WORKERS:-64} --min_workers 1"
if [ -f "runs/${RUN:-run}/config.yaml" ]; then
  what="--resume runs/${RUN:-run} --trust"
else
  what="--run_dir runs/${RUN:-run} ${ARGS:-}"
fi
# shellcheck disable=SC2086  # flags are words
exec python scripts/launch.py $where $what
