#!/usr/bin/env bash
# One command from a fresh clone to figures: ./run_all.sh --help
set -euo pipefail

ROOT=$(cd "${BASH_SOURCE[0]%/*}" && pwd -P)
PROFILES=$(cd "$ROOT/r2d/recipes" && for f in *.yaml; do printf '%s ' "${f%.yaml}"; done)
USAGE="Usage: ./run_all.sh [PROFILE] [options]        run every notebook that is out of date (default: mini)
       ./run_all.sh test [pytest arguments]   run the tests
       ./run_all.sh lab [jupyter arguments]   open the notebooks in JupyterLab
       ./run_all.sh report [PROFILE]          open the report of a run
       ./run_all.sh your-data --train FILE    train and compare on a table of yours (more: your-data --help)
Profiles: $PROFILES
Options:
  --only E1,E2     only these experiments
  --cores N        notebooks at a time (default: all cores)
  --gpus N         those of them that use a GPU, one each (default: all GPUs; 0: use none)
  --on CLUSTER     submit them as jobs: slurm or kubernetes, by notebooks/workflow/CLUSTER/config.yaml
  --set KEY=VALUE  change one setting of the recipe, e.g. train.common.batch=16; may be repeated
  --dry-run        list the notebooks that would run, and how long they take
  --unlock         release the lock that a killed run left
  --no-install     take the environment as it is (also before test, lab and your-data)
  -- ARGUMENTS     hand the rest to Snakemake
An active conda or virtual environment is used (conda's own 'base' is left alone); otherwise .venv is made.
R2D_DATA is the folder of data sets you bring, R2D_HOME the one for runs and caches.
Without an NVIDIA GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu makes the first installation much smaller."

say() { printf '%s\n' "$*"; }
stop() { say "$1" >&2; exit "${2:-2}"; }
need() { [ -n "${2-}" ] || stop "$1 needs a value: see ./run_all.sh --help."; }

profile='' only='' cores='' gpus='' on='' dry='' extra=() install=1 task=run sets=() passed=()
while [ $# -gt 0 ]; do
  case $1 in
    -h|--help) say "$USAGE"; exit 0 ;;
    test|lab|your-data) task=$1; shift; break ;;
    report) task=report ;;
    --only) need "$1" "${2-}"; only=$2; shift ;;
    --cores) need "$1" "${2-}"; cores=$2; shift ;;
    --gpus) need "$1" "${2-}"; gpus=$2; shift ;;
    --on) need "$1" "${2-}"; on=$2; shift ;;
    --set) need "$1" "${2-}"; sets+=("$2"); shift ;;
    --dry-run) dry=1 ;;
    --unlock) extra=(--unlock) ;;
    --no-install) install='' ;;
    --) shift; passed=("$@"); break ;;
    -*) stop "Option $1 is not known: see ./run_all.sh --help." ;;
    *) [ -z "$profile" ] || stop "One profile at a time, please: $profile or $1."; profile=$1 ;;
  esac
  shift
done
profile=${profile:-mini}
case " $PROFILES" in *" $profile "*) ;; *) stop "Profile '$profile' is not known: choose one of ${PROFILES% }." ;; esac
case $cores in *[!0-9]*|0*) stop "--cores takes a whole number above 0, not '$cores'." ;; esac
case $gpus in *[!0-9]*|0?*) stop "--gpus takes a whole number, not '$gpus'." ;; esac
case $on in
  */*|.*) stop "--on takes the name of a folder in notebooks/workflow, not '$on'." ;;
  ?*) [ -f "$ROOT/notebooks/workflow/$on/config.yaml" ] || stop "Cluster '$on' is not known: choose slurm or kubernetes." ;;
esac
for pair in ${sets[@]+"${sets[@]}"}; do
  case $pair in ?*=*) ;; *) stop "--set takes KEY=VALUE, not '$pair'." ;; esac
done
known=$(sed -n '/^experiments:/,/^[^ #]/s/^  \([A-Za-z0-9_]*\):.*/\1/p' "$ROOT/r2d/recipes/$profile.yaml" | tr '\n' ' ')
for id in ${only//,/ }; do
  case " $known" in *" $id "*) ;; *) stop "Experiment '$id' is not in profile $profile: choose from ${known% }." ;; esac
done
for variable in R2D_HOME R2D_DATA R2D_ASSETS; do  # notebooks run elsewhere, so these must not be relative
  case ${!variable-} in ''|/*|'~'*) ;; *) export "$variable=$PWD/${!variable}" ;; esac
done
caller=$PWD
cd "$ROOT"

# The environment: `prefix` is its folder, `python` its interpreter.
modern() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
make_venv() {
  [ -n "$install" ] || stop "There is no environment yet: activate one, or leave out --no-install." 1
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if modern "$candidate"; then
      say "Making .venv with $("$candidate" --version) ..."
      "$candidate" -m venv .venv || stop "$candidate could not make .venv: install its venv module (Debian: python3-venv)." 1
      return
    fi
  done
  stop "No Python 3.11 or newer was found: install one, or run 'conda env create -f environment.yml && conda activate r2d'." 1
}
if [ -n "${VIRTUAL_ENV-}" ]; then
  prefix=$VIRTUAL_ENV
elif [ -n "${CONDA_PREFIX-}" ] && [ "${CONDA_DEFAULT_ENV-}" != base ]; then
  prefix=$CONDA_PREFIX
else
  prefix=$ROOT/.venv
  [ -x "$prefix/bin/python" ] || make_venv
fi
python=$prefix/bin/python
modern "$python" || stop "The environment $prefix has no working Python 3.11 or newer: leave or remove it, then try again." 1

extras=test${on:+,cluster} stamped=$prefix/.r2d-installed${on:+-cluster}
stamp=$(printf '%s\n' "$ROOT" | cat - pyproject.toml constraints.txt | cksum)
if [ -n "$install" ] && [ "$stamp" != "$(cat "$stamped" 2>/dev/null || true)" ]; then
  log=$prefix/r2d-install.log
  say "Installing into $prefix (the first time about 5 minutes) ..."
  "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null 2>&1 || true
  "$python" -m pip install --no-input --disable-pip-version-check -c constraints.txt -e ".[$extras]" >"$log" 2>&1 ||
    stop "The installation failed; all of it is in $log:"$'\n'"$(grep -i error "$log" | tail -n 3)" 1
  say "$stamp" >"$stamped"
fi
case $task in
  test) exec "$python" -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile "$@" ;;
  lab) JUPYTER_PREFER_ENV_PATH=1 exec "$python" -m jupyterlab --notebook-dir=notebooks "$@" ;;
  your-data) cd "$caller" && PYTHONPATH=$ROOT exec "$python" -m r2d your-data "$@" ;;
esac

# The run: `name` is the profile's, with a suffix where --set changes the recipe.
name=$profile overrides='{}'
if [ ${#sets[@]} -gt 0 ]; then
  changed=$(PYTHONPATH=$ROOT "$python" notebooks/workflow/overrides.py "$profile" "${sets[@]}") || exit 2
  name=${changed%%$'\n'*} overrides=${changed#*$'\n'}
fi
[ "$task" != report ] || exec "$python" -m r2d.report "$profile" --overrides "$overrides" --open
runs=${R2D_HOME:-$ROOT}/runs/$name
runs=${runs/#\~/$HOME}
command=("$python" -m snakemake --snakefile notebooks/Snakefile --directory "$ROOT" --workflow-profile notebooks/workflow)
if [ -n "$on" ]; then
  command+=(--profile "notebooks/workflow/$on" ${cores:+--cores "$cores"})
else
  command+=(--cores "${cores:-$(env -u OMP_NUM_THREADS nproc 2>/dev/null || sysctl -n hw.ncpu)}")
  [ "$gpus" != 0 ] || export CUDA_VISIBLE_DEVICES=''
  if [ -z "${CUDA_VISIBLE_DEVICES+set}" ]; then
    found=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null | tr '\n' ,) || found=''
    [ -z "$found" ] || export CUDA_VISIBLE_DEVICES=${found%,}
  fi
  IFS=, read -r -a devices <<<"${CUDA_VISIBLE_DEVICES-}"
  case ${devices-} in ''|-*) ;; *) gpus=${gpus:-${#devices[@]}} ;; esac
fi
case $gpus in ''|0) ;; *) command+=(--resources "gpu=$gpus") ;; esac
command+=(--config "profile=$profile" ${only:+"only=$only"})
[ "$gpus" != 0 ] || command+=(gpus=0)
[ "$name" = "$profile" ] || command+=(--configfile "$runs/logs/overrides.json")  # --config would lose the types
command+=(${passed[@]+"${passed[@]}"})
[ ${#extra[@]} -eq 0 ] || exec "${command[@]}" "${extra[@]}"
sentence() { sed -n '/^R2DError in file/{n;p;}' | grep .; }
if [ -n "$dry" ]; then
  plan=$("${command[@]}" --dry-run --quiet host reason 2>&1) || stop "$(sentence <<<"$plan" || tail -n 5 <<<"$plan")" 1
  exec "$python" -m r2d.estimate "$profile" --overrides "$overrides" <<<"$plan"
fi

mkdir -p "$runs/logs" 2>/dev/null || stop "$runs cannot be written: free some disk space, or set R2D_HOME to another folder." 1
log=$runs/logs/run-$(date +%Y%m%d-%H%M%S).log
show() {  # every line goes to the log; which notebooks start and end, how many of all, and the time left to the screen
  trap '' INT TERM HUP
  local line id begun=$SECONDS seconds total=0 ended=0 names=() left
  local start='^Job ([0-9]+): (.+)$' end='^Finished jobid: ([0-9]+) ' count='^total +([0-9]+)$'
  while IFS= read -r line; do
    say "$line" >&3 2>/dev/null || true  # a full disk is reported by the notebook that meets it
    if [[ $line =~ $count ]]; then
      total=$((BASH_REMATCH[1] - 1))  # the rule `all` is no notebook
    elif [[ $line =~ $start ]]; then
      names[BASH_REMATCH[1]]=${BASH_REMATCH[2]}
      say "  $(date +%H:%M)  start  ${BASH_REMATCH[2]}"
    elif [[ $line =~ $end ]] && id=${BASH_REMATCH[1]} && [ -n "${names[id]-}" ]; then
      ended=$((ended + 1)) left=''
      seconds=$(((SECONDS - begun) * (total - ended) / ended))
      [ "$total" -le "$ended" ] || left=", about $((seconds / 60 + 1)) min left"
      say "  $(date +%H:%M)  done   ${names[id]}  ($ended of $total$left)"
    fi
  done 3>"$log"
}
say "Profile $name; how far each notebook is: tail -f $runs/logs/*.log"
set -m  # a process group of its own, so that stopping this script stops every notebook
{ "${command[@]}" </dev/null 2>&1 | show; } &
job=$! stopped='' status=0 signal=TERM
[ -z "$on" ] || signal=INT  # has Snakemake cancel the cluster's jobs; it would wait for them on TERM
set +m
trap 'stopped=1; kill "-$signal" -- "-$job" 2>/dev/null; trap "kill -KILL -- -$job" INT TERM HUP' INT TERM HUP
wait "$job" || status=$?
while kill -0 -- "-$job" 2>/dev/null; do sleep 0.2; done
took="$((SECONDS / 60)) min $((SECONDS % 60)) s"
[ -z "$stopped" ] || stop "Stopped after $took; what is finished stays, and the same command goes on from there." 130
if [ "$status" -eq 0 ]; then
  printf '%s\n' "Done in $took." "  figures             $ROOT/figures/$name/" "  tables              $runs/results/" \
    "  executed notebooks  $runs/notebooks/" "  report              $runs/report/index.html"
  exit 0
fi
if grep -q LockException "$log"; then
  stop "Another run is at work here or one was killed; if none is, './run_all.sh $profile --unlock' releases the lock." 1
fi
{
  say "Failed after $took; what is finished stays. The full log: $log"
  failed=$(sed -n 's/^ *log: \([^,(]*\)\.[a-z]*[ ,].*(check log file.*/\1/p' "$log" | sort -u)
  [ -n "$failed" ] || sentence <"$log" || tail -n 5 "$log"
  printf '%s' "$failed" | while IFS= read -r left || [ -n "$left" ]; do
    if [ -f "$left.ipynb" ]; then say "  $left.ipynb"; else say "  $left.log"; fi
    sed -n 's/^.*R2DError: /    /p' "$left.log" 2>/dev/null | tail -n 1
  done
} >&2
exit 1
