#!/usr/bin/env bash
# Plays the staging and crisis scenarios of the deployment guide against a running daemon, signed by Stripe's own npm
# package, and measures each: how long the answer took, and how long until the access document says what follows.
#
#   scripts/staging.sh [ROUNDS]
#
# Without KEEPWELL_URL it builds and starts a daemon of its own, on a state directory that is gone afterwards. With it,
# KEEPWELL_STRIPE_SECRET, KEEPWELL_APP_SECRET and KEEPWELL_ACCESS_TOKEN say how to speak to the one that is there: for a
# staging server, never for one that looks after people. Ends with 1 if a scenario fails or is over its limit, and with 77
# if node or npm are not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in node npm; do
  if ! command -v "$tool" >/dev/null; then
    echo "skipped: $tool is not installed, and the scenarios are sent by Stripe's npm package" >&2
    exit 77
  fi
done

target=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# The major version is named, so that the same package signs until somebody chooses another one.
npm install --prefix "$target/staging" --no-save --no-package-lock --no-audit --no-fund --silent stripe@18

if [ -z "${KEEPWELL_URL:-}" ]; then
  scripts/needs.sh run
  cargo build --release --locked --quiet
  state=$(mktemp -d)
  port=$(node -e 'const server = require("node:net").createServer();
    server.listen(0, "127.0.0.1", () => { console.log(server.address().port); server.close(); });')
  KEEPWELL_URL="http://127.0.0.1:$port"
  KEEPWELL_STRIPE_SECRET="whsec_$(node -e 'console.log(require("node:crypto").randomBytes(24).toString("hex"))')"
  KEEPWELL_APP_SECRET="whsec_$(node -e 'console.log(require("node:crypto").randomBytes(32).toString("base64"))')"
  KEEPWELL_ACCESS_TOKEN=$(node -e 'console.log(require("node:crypto").randomBytes(24).toString("hex"))')
  env -i PATH="$PATH" KEEPWELL_STATE_DIR="$state" KEEPWELL_SERVER__LISTEN="127.0.0.1:$port" \
    KEEPWELL_STRIPE__WEBHOOK_SECRETS="[\"$KEEPWELL_STRIPE_SECRET\"]" \
    KEEPWELL_APP__WEBHOOK_SECRETS="[\"$KEEPWELL_APP_SECRET\"]" \
    KEEPWELL_ACCESS__TOKENS="[\"$KEEPWELL_ACCESS_TOKEN\"]" \
    "$target/release/keepwell" serve >"$state/log" 2>&1 &
  daemon=$!
  end() {
    local ended=$?
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
    [ "$ended" -eq 0 ] || tail -n 5 "$state/log" >&2
    rm -rf "$state"
    exit "$ended"
  }
  trap end EXIT
fi
export KEEPWELL_URL KEEPWELL_STRIPE_SECRET KEEPWELL_APP_SECRET KEEPWELL_ACCESS_TOKEN

NODE_PATH="$target/staging/node_modules" node scripts/staging/scenarios.cjs "${1:-100}"
