#!/usr/bin/env bash
# Installs Debian packages, as root or through sudo, and starts none of the services that come with them:
# keepwell and its tests start servers of their own.
#
#   scripts/install-packages.sh PACKAGE...
set -euo pipefail

refuse() {
  echo "keepwell needs packages that this machine lacks: $*" >&2
  if command -v apt-get >/dev/null; then
    echo "hint: run \`apt-get install $*\` as root, then try again" >&2
  else
    echo "hint: install them by your system's own names (those above are Debian's), then try again" >&2
  fi
  exit 1
}

command -v apt-get >/dev/null || refuse "$@"

if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || refuse "$@"
  # Somebody at a terminal can be asked for a password, a pipeline cannot.
  [ -t 0 ] || sudo -n true 2>/dev/null || refuse "$@"
  exec sudo -- "$0" "$@"
fi

echo "installing from Debian's packages: $*"

log=$(mktemp)
put_back=("$log")
trap 'rm -f "${put_back[@]}"' EXIT

# dpkg asks this file before it starts a service. One that is there already has somebody's reasons.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  put_back+=("$policy")
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

# Debian's PostgreSQL makes a database cluster as it is installed, unless it is told not to.
cluster=/etc/postgresql-common/createcluster.d/keepwell.conf
if [ ! -e "$cluster" ]; then
  put_back+=("$cluster")
  mkdir -p "$(dirname "$cluster")"
  echo 'create_main_cluster = false' >"$cluster"
fi

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null
}

if ! { apt update && apt install -y --no-install-recommends "$@"; }; then
  tail -n 20 "$log" >&2
  echo "apt-get could not install: $*" >&2
  exit 1
fi
