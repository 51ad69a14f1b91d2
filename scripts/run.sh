#!/bin/sh
# Run the quickstart: run.sh DIR. Everything that it makes is below DIR.
set -eu
dir=$1
here=$(cd "$(dirname "$0")/.." && pwd)
user=$(id -un)
mkdir -p "$dir"
cat <<EOT
weir listens on 127.0.0.1:2525. Type a mail into it:

    nc -C localhost 2525

A mail to $user@localhost arrives in $dir/mail/$user/new; the log follows
here. Ctrl-C ends it.

EOT
exec "$here/bin/weir" run -c "$here/etc/quickstart.conf" -D "dir=$dir" -D "user=$user" -D "home=$here" \
	-D "uid=$(id -u)" -D "gid=$(id -g)"
