#!/usr/bin/env bash
# Runs the long form of the chaos suite; tests/chaos/README.md explains the variables.
set -euo pipefail
cd "$(dirname "$0")/.."

export KEEPWELL_CHAOS_SCENARIOS=${KEEPWELL_CHAOS_SCENARIOS:-all}
exec cargo test --locked --package keepwell --test integration --quiet -- \
  --exact chaos::whatever_was_asked_for_is_survived --nocapture
