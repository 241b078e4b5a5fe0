#!/bin/sh
# Runs test programs that speak TAP ("ok 1 - name", "not ok 2 - name", "ok 3 - name # SKIP why"), one
# after the other, and closes with "N passed, N failed, N skipped". A program that dies without saying
# what failed counts as one failure. usage: tests/tap.sh COMMAND... (each one word list, split by the shell)
# TAP_COUNTS=FILE: the three numbers are also appended there, for a total over several calls.
set -u
out=$(mktemp); trap 'rm -f "$out"' EXIT
passed=0 failed=0 skipped=0
for t in "$@"; do
    # shellcheck disable=SC2086  # the command's words
    CMOCKA_MESSAGE_OUTPUT=TAP $t >"$out" 2>&1 </dev/null; rc=$?
    # cmocka writes "not ok N # SKIP name" for a skipped test
    n_ok=$(grep -E '^ok ' "$out" | grep -cv '# SKIP'); n_skip=$(grep -cE '^(not )?ok .*# SKIP' "$out")
    n_bad=$(grep -E '^not ok ' "$out" | grep -cv '# SKIP')
    [ "$rc" -ne 0 ] && [ "$n_bad" -eq 0 ] && n_bad=1
    [ $((n_ok + n_bad + n_skip)) -eq 0 ] && { n_bad=1; echo "no test ran" >>"$out"; }
    printf '%-60s %4s passed, %s failed, %s skipped\n' "$t" "$n_ok" "$n_bad" "$n_skip"
    grep -E '^(not )?ok .*# SKIP' "$out" | sed -E 's/^(not )?ok [0-9]+ (- )?/    skipped: /'
    [ "$n_bad" -ne 0 ] && { grep -vE '^ok ' "$out" | tail -n 60; echo "exit status $rc"; }
    passed=$((passed + n_ok)) failed=$((failed + n_bad)) skipped=$((skipped + n_skip))
done
[ -n "${TAP_COUNTS:-}" ] && echo "$passed $failed $skipped" >>"$TAP_COUNTS"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
