#!/usr/bin/env bash
# Runs every test. The examples in the documentation come first, so that the last line is the tests' own summary.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo test --workspace --locked --doc --quiet

if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --locked "$@"
else
  cargo test --workspace --locked --lib --bins --tests --no-fail-fast -- "$@"
fi
