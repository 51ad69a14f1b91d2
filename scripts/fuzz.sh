#!/bin/sh
# Run every fuzz target of the tree for FUZZTIME (3s). A target that finds
# something leaves the input in its package's testdata/fuzz.
set -eu
cd "$(dirname "$0")/.."
time=${FUZZTIME:-3s}
n=0
for file in $(git ls-files -co --exclude-standard '*_test.go' | xargs grep -l '^func Fuzz' | sort); do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$(dirname "$file")" 2>&1) || {
			printf '%s\n' "$out"
			echo "fuzz: $target in $file failed"
			exit 1
		}
		n=$((n + 1))
		printf '%s\n' "$out" | sed -n "s|^fuzz: elapsed: .*, execs: \([0-9]*\) .*|fuzz: $target \1 inputs|p" | tail -1
	done
done
echo "fuzz: $n targets, $time each"
[ "$n" -gt 0 ]
