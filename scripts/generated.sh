#!/bin/sh
# Generated files must be as their generators make them. Generators are the
# go:generate lines of the tree.
set -eu
cd "$(dirname "$0")/.."
if ! git ls-files '*.go' | xargs grep -l '^//go:generate' >/dev/null; then
	exit 0
fi
before=$(git status --porcelain | sort; git diff | cksum)
go generate ./...
after=$(git status --porcelain | sort; git diff | cksum)
if [ "$before" != "$after" ]; then
	echo "go generate changed files; commit what it made:"
	git status --porcelain
	exit 1
fi
