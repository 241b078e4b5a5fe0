#!/bin/sh
# Prints a main() that runs every NAME_test.c given: each defines int NAME_test(void), which runs a
# cmocka group and returns its number of failures.
set -eu
for f in "$@"; do n=$(basename "$f" .c); echo "int $n(void);"; done
echo 'int main(void);'
echo 'int main(void) { int failed = 0;'
for f in "$@"; do n=$(basename "$f" .c); echo "    failed += $n() != 0;"; done
echo '    return failed != 0; }'
