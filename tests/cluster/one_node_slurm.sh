#!/usr/bin/env bash
# The smoke scale through a real SLURM on this machine, two jobs killed on the way, against the same scale run locally.
#
#   make cluster-test         on Debian, as root; about a quarter of an hour on two cores
#
# Installs slurm-wlm and munge where they are missing, sets up a cluster of one node, and takes it down at the end. Works in
# fresh clones of this checkout's last commit in a temporary folder (KEEP=1 keeps it), with the data that lie in data/.
set -euo pipefail
cd "$(dirname "$0")/../.."

refuse() { echo "error: $*" >&2; exit 2; }
[ -f /etc/debian_version ] || refuse "this test installs Debian's packages of SLURM; run it on Debian"
[ "$(id -u)" = 0 ] || refuse "this test installs packages and starts daemons; run it as root, in a container if you like"
[ ! -e /etc/slurm/slurm.conf ] || refuse "/etc/slurm/slurm.conf: this machine has a SLURM of its own; it is left alone"
! pgrep -x slurmctld > /dev/null && ! pgrep -x slurmd > /dev/null || refuse "slurmctld or slurmd runs on this machine; it is left alone"
python -c 'import snakemake_executor_plugin_slurm' 2> /dev/null ||
  refuse "no SLURM executor; pip install --requirement profiles/slurm/requirements.lock"
[ -d data/mnist ] && [ -d data/orl-faces ] || refuse "data/: no data; python -m experiments.data fetch mnist orl-faces"

CORES=$(getconf _NPROCESSORS_ONLN)  # nproc would heed OMP_NUM_THREADS
WORK=$(mktemp -d)
STARTED=()
finish() {
  trap - EXIT
  for process in "${STARTED[@]}"; do kill "$process" 2> /dev/null || true; done
  wait
  squeue --noheader --format=%i 2> /dev/null | xargs --no-run-if-empty scancel --signal=KILL --full
  # Daemons detach, so they are known by the process ids that they leave.
  for file in "$WORK"/state/slurmd.pid "$WORK"/state/slurmctld.pid "$WORK"/state/munged.pid; do
    [ -f "$file" ] || continue
    daemon=$(cat "$file")
    kill "$daemon" 2> /dev/null || true
    timeout 60 tail --pid="$daemon" --follow /dev/null || true  # it writes its state before it ends
  done
  rm -f /etc/slurm/slurm.conf
  if [ -n "${KEEP:-}" ]; then echo "kept $WORK"; else rm -rf "$WORK"; fi
}
trap finish EXIT
trap 'exit 130' INT TERM

echo "== SLURM"
if ! command -v slurmctld slurmd munged > /dev/null; then
  # Packages start their daemons where an init system runs; without a configuration they fail at once, and harmlessly.
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends slurm-wlm munge > /dev/null
fi
mkdir -p "$WORK"/state/{controller,worker} /etc/slurm
# The executor clears SLURM_CONF, so the file has to lie where SLURM looks for it.
sed -e "s|@HOST@|$(hostname -s)|; s|@STATE@|$WORK/state|; s|@CORES@|$CORES|" \
  -e "s|@MEMORY@|$(awk '/MemTotal/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)|" tests/cluster/slurm.conf > /etc/slurm/slurm.conf
if ! pgrep -x munged > /dev/null; then
  [ -f /etc/munge/munge.key ] || mungekey --create
  mkdir -p /run/munge && chown munge: /run/munge /etc/munge/munge.key
  chmod 711 "$WORK" && install -d -o munge "$WORK"/munge
  su munge -s /bin/sh -c "munged --pid-file=$WORK/munge/munged.pid --log-file=$WORK/munge/munged.log"
  ln -s ../munge/munged.pid "$WORK"/state/munged.pid
fi
slurmctld
slurmd
for _ in $(seq 60); do [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ] && break; sleep 1; done
[ "$(sinfo --noheader --format=%T)" = idle ] || { tail "$WORK"/state/*.log; refuse "SLURM's node did not come up"; }
sinfo --version

for clone in cluster local; do  # both now, so that they are of one commit
  git clone --quiet . "$WORK/$clone"
  ln -s "$(realpath data)" "$WORK/$clone/data"
done

SEED=10  # the first of config/smoke.yaml

# Process id of a training of IntroVAE by this method under SLURM, once it is under way.
training() {
  for _ in $(seq 1200); do
    kill -0 "$WORKFLOW" 2> /dev/null || break
    for process in $(pgrep -f "python[0-9.]* -m experiments.introvae .*--method $1 --seed $SEED"); do
      # Of the shell and the Python that it started, the latter; and only once its log shows the progress of its steps.
      if [ "$(readlink "/proc/$process/exe")" = "$PYTHON" ] && grep -qs step/s "$WORK/cluster/results/smoke/logs/introvae/$1-$SEED.log"; then
        echo "$process"
        return
      fi
    done
    sleep 0.5
  done
  echo "error: no training of $1 seen" >&2
  return 1
}

echo "== the smoke scale through SLURM"
PYTHON=$(realpath "$(python -c 'import sys; print(sys.executable)')")
(
  cd "$WORK"/cluster
  # Not in the profile, since these are this cluster's: no accounts, no accounting, and an answer soon.
  exec snakemake --workflow-profile profiles/slurm --configfile config/smoke.yaml --slurm-no-account \
    --slurm-status-command squeue --slurm-init-seconds-before-status-checks 5 > "$WORK"/cluster.log 2>&1
) &
WORKFLOW=$!
STARTED+=("$WORKFLOW")
# As a time limit ends a job: SIGTERM to all its processes, and SIGKILL to those that are there half a minute later.
cancel() {
  local process job
  process=$(training "$1")
  job=$(tr '\0' '\n' < "/proc/$process/environ" | sed -n 's/^SLURM_JOB_ID=//p')
  scancel "$job"
  echo "scancel $job: IntroVAE, $1, seed $SEED"
}
# As a lost node does, or the kernel when memory is short.
lose() {
  local process
  process=$(training "$1")
  kill -KILL "$process"
  echo "kill -KILL $process: IntroVAE, $1, seed $SEED"
}
cancel fixed & CANCELLED=$!  # both at once, as either may train first
lose softadapt & LOST=$!
wait "$CANCELLED" && wait "$LOST" || exit 1
wait "$WORKFLOW" || { tail -n 60 "$WORK"/cluster.log; exit 1; }

echo "== the smoke scale on this machine without SLURM"
(cd "$WORK"/local && exec snakemake --configfile config/smoke.yaml --cores "$CORES" > "$WORK"/local.log 2>&1) &
STARTED+=("$!")
wait "$!" || { tail -n 60 "$WORK"/local.log; exit 1; }

echo "== summary of $(git -C "$WORK"/local rev-parse --short HEAD), $(date -I)"
python tests/cluster/compare.py "$WORK" --killed 2
