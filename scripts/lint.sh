#!/usr/bin/env bash
# Checks formatting, lints and dependencies. A tool that this machine lacks is an error in CI and a remark elsewhere;
# cargo-deny is optional everywhere.
set -euo pipefail
cd "$(dirname "$0")/.."

there() {
  cargo "$1" --version >/dev/null 2>&1 && return
  echo "cargo $1 is not installed: skipped" >&2
  [ -z "${CI:-}" ] || exit 1
  return 1
}

if there fmt; then
  cargo fmt --all -- --check
fi

if there clippy; then
  cargo clippy --workspace --all-targets --locked -- -D warnings
fi

# Not the advisories: their database is fetched, and a build that needs nothing else from outside must not fail for it.
if cargo deny --version >/dev/null 2>&1; then
  cargo deny --locked check bans licenses sources
fi
