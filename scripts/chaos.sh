#!/usr/bin/env bash
# Runs the long form of the chaos suite; tests/chaos/README.md explains the variables.
set -euo pipefail
cd "$(dirname "$0")/.."

export KEEPWELL_CHAOS_SCENARIOS=${KEEPWELL_CHAOS_SCENARIOS:-all}
# The times are to be those of the program that people run; the judge may be slower.
cargo build --locked --release --package keepwell --quiet
KEEPWELL_TEST_DAEMON="$(cargo metadata --locked --no-deps --format-version 1 |
  sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/keepwell"
export KEEPWELL_TEST_DAEMON
exec cargo test --locked --package keepwell --test integration --quiet -- \
  --exact chaos::whatever_was_asked_for_is_survived --nocapture
