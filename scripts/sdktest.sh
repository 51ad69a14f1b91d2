#!/bin/sh
# The tests of the SDKs that are not Go, with their own languages' tools. A
# language that is not installed is named and left out.
set -eu
cd "$(dirname "$0")/../sdk"

if command -v python3 >/dev/null 2>&1; then
	echo "sdk: python"
	(cd python && PYTHONDONTWRITEBYTECODE=1 python3 -m unittest -q)
else
	echo "sdk: python3 is not installed, its tests are left out"
fi
if command -v prove >/dev/null 2>&1; then
	echo "sdk: perl"
	(cd perl && prove -Q -r t)
else
	echo "sdk: prove is not installed, the tests of Perl are left out"
fi
