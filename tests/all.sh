#!/bin/sh
# Every test, in stages; each stage prints what it runs, a stage that does not build counts as one failure
# and the others go on. The last line is the total. NARU_SHARED names the folder of reference data
# (default ../shared beside the checkout); tests that need it are skipped by name where it is absent.
set -u
cd "$(dirname "$0")/.."
[ -d "${NARU_SHARED:=$(dirname "$PWD")/shared}" ] && export NARU_SHARED || unset NARU_SHARED
TAP_COUNTS=$(mktemp); export TAP_COUNTS
trap 'rm -f "$TAP_COUNTS"' EXIT
jobs=-j$(nproc)
# Address randomisation wider than the thread sanitizer of gcc 12 knows would stop it at once.
fixed=""; setarch -R true 2>/dev/null && fixed="setarch -R"

stage() { printf '\n== %s (%ss)\n' "$*" "$(($(date +%s) - started))"; }
started=$(date +%s)
fail() { echo "not ok - $*"; echo "0 1 0" >>"$TAP_COUNTS"; }
pass() { echo "ok - $*"; echo "1 0 0" >>"$TAP_COUNTS"; }
try() { what=$1; shift; if "$@"; then pass "$what"; else fail "$what"; fi; }

# run_units LABEL MAKE-ARGUMENTS... -- [LAYER...]: builds and runs unit tests (all layers if none is named).
run_units() {
    args=""; while [ "$1" != -- ]; do args="$args $1"; shift; done; shift
    # shellcheck disable=SC2086
    dir=$(make -s $args print-O)
    layers=${*:-$(make -s print-UNIT_LAYERS)}
    bins=""; for l in $layers; do bins="$bins $dir/tests/unit_$l"; done
    # shellcheck disable=SC2086
    if make -s $jobs $args $bins >/dev/null; then
        set --; for b in $bins; do set -- "$@" "${wrap:-} $b"; done
        sh tests/tap.sh "$@"
    else
        fail "build of the unit tests with:$args"
    fi
}

stage "layers, limits, the binary (gcc)"
try "release build" make -s $jobs all
try "layers and limits (make tidy)" make -s tidy

stage "unit tests, release"
run_units --
stage "kernel referee, release"
if make -s $jobs build/tests/checkkernel; then sh tests/tap.sh build/tests/checkkernel; else fail "build of checkkernel"; fi

stage "crashes: kill -9 and power loss, short (make kill-loop, make power-loss for long ones)"
if make -s $jobs build/tests/fault_kill_loop build/tests/fault_power_loss; then
    try "60 rounds of kill -9" build/tests/fault_kill_loop 60 20261125
    try "2000 images of a power loss" build/tests/fault_power_loss 2000 20261125
else
    fail "build of the crash tests"
fi

stage "the daemon and the command line"
if sh tests/venv.sh; then
    set --; for t in tests/e2e/*_test.py; do set -- "$@" ".venv/bin/python $t"; done
    sh tests/tap.sh "$@"
else
    fail "Python environment of the API clients (tests/venv.sh)"
fi

stage "clang, address and undefined-behaviour sanitizers"
run_units BUILD=asan CC=clang --
if make -s $jobs BUILD=asan CC=clang fuzz-bins; then sh tests/tap.sh "make -s BUILD=asan CC=clang fuzz-replay"; else fail "build of the fuzz targets"; fi

if make -s $jobs BUILD=asan CC=clang all; then
    NARU_BIN=build/asan/naru sh tests/tap.sh "python3 tests/e2e/cli_test.py"
else
    fail "build of the binary with sanitizers"
fi

stage "thread sanitizer"
wrap=$fixed run_units BUILD=tsan -- os engine api

stage "arm kernels under emulation"
if make -s $jobs CROSS=aarch64-linux-gnu- "$(make -s CROSS=aarch64-linux-gnu- print-O)/tests/checkkernel"; then
    sh tests/tap.sh "make -s CROSS=aarch64-linux-gnu- checkkernel"
else
    fail "build of the arm kernels"
fi

stage "total"
awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f != 0 }' "$TAP_COUNTS"
