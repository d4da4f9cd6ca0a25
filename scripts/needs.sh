#!/usr/bin/env bash
# Installs from Debian's packages what a `make` target needs and this machine lacks.
# Where everything is there it changes nothing, prints nothing and needs no privileges.
#
#   scripts/needs.sh build|run|demo|test
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
missing=()

c_compiler_works() {
  local program works=0
  program=$(mktemp)
  printf '#include <stdio.h>\nint main(void) { return 0; }\n' | cc -x c -o "$program" - 2>/dev/null || works=1
  rm -f "$program"
  return "$works"
}

certificates_are_there() {
  [ -n "${SSL_CERT_FILE:-}${SSL_CERT_DIR:-}${CARGO_HTTP_CAINFO:-}" ] || [ -s /etc/ssl/certs/ca-certificates.crt ]
}

postgres_is_there() {
  command -v postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres'
} >/dev/null

browser_is_there() {
  command -v chromium || command -v chromium-browser || command -v google-chrome
} >/dev/null

need_to_build() {
  # Rust links with it, and it compiles SQLite.
  c_compiler_works || missing+=(gcc libc6-dev)
  # Without it cargo trusts no registry.
  certificates_are_there || missing+=(ca-certificates)
}

need_to_run() {
  command -v redis-server >/dev/null || missing+=(redis-server)
}

need_to_test() {
  postgres_is_there || missing+=(postgresql)
  # The rules in config/alerts are tested with it.
  command -v promtool >/dev/null || missing+=(prometheus)
  # The pages of reports are looked at in it, and printed; what is on the paper is read with the other.
  browser_is_there || missing+=(chromium)
  command -v pdftotext >/dev/null || missing+=(poppler-utils)
}

case "${1:-}" in
  build) need_to_build ;;
  run | demo) need_to_build; need_to_run ;;
  test) need_to_build; need_to_run; need_to_test ;;
  *) echo "usage: scripts/needs.sh build|run|demo|test" >&2; exit 2 ;;
esac

if ! command -v cargo >/dev/null; then
  echo "keepwell needs Rust: put \`cargo\` and \`rustc\` on the PATH" >&2
  exit 1
fi

if [ ${#missing[@]} -gt 0 ]; then
  exec "$here/install-packages.sh" "${missing[@]}"
fi
