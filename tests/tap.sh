#!/bin/sh
# Runs test programs that speak TAP ("ok 1 - name", "not ok 2 - name", "ok 3 - name # SKIP why"), one
# after the other, and closes with "N passed, N failed, N skipped". A program that dies counts as a
# failure. usage: tests/tap.sh PROGRAM...
set -u
out=$(mktemp); trap 'rm -f "$out"' EXIT
passed=0 failed=0 skipped=0
for t in "$@"; do
    CMOCKA_MESSAGE_OUTPUT=TAP "$t" >"$out" 2>&1; rc=$?
    n_ok=$(grep -cE '^ok ' "$out"); n_bad=$(grep -cE '^not ok ' "$out"); n_skip=$(grep -cE '^ok .*# SKIP' "$out")
    [ "$rc" -ne 0 ] && [ "$n_bad" -eq 0 ] && n_bad=1
    printf '%-40s %s passed, %s failed, %s skipped\n' "$(basename "$t")" "$((n_ok - n_skip))" "$n_bad" "$n_skip"
    grep -E '^ok .*# SKIP' "$out"
    [ "$n_bad" -ne 0 ] && { grep -vE '^ok ' "$out" | tail -n 60; echo "exit status $rc"; }
    passed=$((passed + n_ok - n_skip)) failed=$((failed + n_bad)) skipped=$((skipped + n_skip))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
