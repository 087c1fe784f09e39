#!/usr/bin/env bash
# From a fresh clone to figures: finds Python, makes the environment, hands over to `python -m r2d`.
set -euo pipefail
root=$(cd "${BASH_SOURCE[0]%/*}" && pwd -P) install=1 extras=test
usage=$(<"$root/r2d/usage.txt") profiles=$(cd "$root/r2d/recipes" && printf ' %s' *.yaml)
stop() { printf '%s\n' "${*:2}" >&2; exit "$1"; }
modern() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
for word; do
  shift
  if [ "$word" = --no-install ]; then install=''; else set -- "$@" "$word"; fi
  case $word in --on | --on=*) extras=test,cluster ;; esac
done
if [[ $# = 0 || $1 = -* || -f $root/r2d/recipes/$1.yaml ]]; then set -- run "$@"; fi
[[ "$* " =~ ^run\ (.*\ )?(-h|--help)\  ]] &&
  printf '%s\nProfiles:%s\n' "$usage" "${profiles//.yaml/}" && exit
[[ $usage = *[\ ]"$1"[\ ,$'\n']* ]] ||
  stop 2 "'$1' is no command and no profile: choose one of${profiles//.yaml/}, or see --help."

conda=${CONDA_PREFIX-}
if [ "${CONDA_DEFAULT_ENV-}" = base ]; then conda=''; fi
prefix=${VIRTUAL_ENV:-${conda:-$root/.venv}} && python=$prefix/bin/python
if [ "$prefix" = "$root/.venv" ] && [ ! -x "$python" ]; then
  [ "$install" ] || stop 1 "There is no environment yet: activate one, or leave out --no-install."
  for found in python3 python3.13 python3.12 python3.11 ''; do modern "$found" && break; done
  [ "$found" ] || stop 1 "No Python 3.11 or newer was found: install one, or run" \
    "'conda env create -f environment.yml && conda activate r2d'."
  printf 'Making .venv with %s ...\n' "$("$found" --version)"
  "$found" -m venv "$prefix" || stop 1 "$found needs its venv module (Debian: python3-venv)."
fi
modern "$python" || stop 1 "$prefix has no working Python 3.11 or newer: leave or remove it."
stamp=$prefix/.r2d-installed-$extras log=$prefix/r2d-install.log
lock=$(printf '%s\n' "$root" | cat - "$root"/{pyproject.toml,constraints.txt} | cksum)
if [ "$install" ] && [ "$lock" != "$(cat "$stamp" 2>/dev/null || true)" ]; then
  printf 'Installing into %s (the first time about 5 minutes) ...\n' "$prefix"
  "$python" -m pip --version &>/dev/null || "$python" -m ensurepip &>/dev/null || true
  (cd "$root" && "$python" -m pip install --no-input -c constraints.txt -e ".[$extras]") &>"$log" ||
    stop 1 "The installation failed; all of it is in $log:"$'\n'"$(grep -i error "$log" | tail -3)"
  printf '%s\n' "$lock" >"$stamp"
fi
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -P -m r2d "$@"
