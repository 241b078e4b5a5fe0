#!/bin/sh
# Replays the corpus of each fuzz target given as a program named fuzz_TARGET; one TAP line a target.
set -u
n=0 bad=0
for t in "$@"; do
    n=$((n + 1)); name=${t##*/fuzz_}; dir=tests/fuzz/corpus/$name
    out=$(mktemp)
    if find "$dir" -type f 2>/dev/null | sort | tr '\n' '\0' | xargs -0 -r "$t" >"$out" 2>&1; then
        echo "ok $n - fuzz corpus of $name: $(grep -c '^ok ' "$out") inputs"
    else
        bad=1; echo "not ok $n - fuzz corpus of $name"; tail -n 40 "$out" | sed 's/^/# /'
    fi
    rm -f "$out"
done
exit "$bad"
