#!/bin/sh
# The tests of the SDKs that are not Go, with their own languages' tools. A
# language that is not installed is named and left out.
set -eu
cd "$(dirname "$0")/../sdk"
if [ -d python ]; then
	if command -v python3 >/dev/null; then
		for d in python python/tests python/test; do
			if [ -n "$(ls $d/test_*.py 2>/dev/null)" ]; then
				echo "sdk: python ($d)"
				(cd python && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=. python3 -m unittest discover -s "../$d" -t . 2>&1 | tail -4; ) || exit 1
			fi
		done
	else
		echo "sdk: python3 is not installed, its tests are left out"
	fi
fi
if [ -d perl/t ]; then
	if command -v prove >/dev/null; then (cd perl && prove -l t); else echo "sdk: prove is not installed, perl is left out"; fi
fi
if [ -f c/Makefile ]; then make -s -C c check; fi
