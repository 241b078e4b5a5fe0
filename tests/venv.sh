#!/bin/sh
# Makes .venv with the pinned API clients of tests/e2e/requirements.txt, once: a stamp holds the digest of
# the list, so that later runs need no network.
set -eu
cd "$(dirname "$0")/.."
want=$(sha256sum tests/e2e/requirements.txt | cut -d' ' -f1)
[ -f .venv/stamp ] && [ "$(cat .venv/stamp)" = "$want" ] && exit 0
rm -rf .venv
/usr/bin/python3 -m venv .venv
.venv/bin/pip install -q --disable-pip-version-check -r tests/e2e/requirements.txt
echo "$want" >.venv/stamp
