#!/bin/sh
# Install below $DESTDIR$PREFIX; called by "make install".
set -eu
cd "$(dirname "$0")/.."
root=${DESTDIR:-}${PREFIX:-/usr/local}

install -d "$root/sbin" "$root/libexec/weir" "$root/share/man/man8" "$root/share/man/man5" "$root/share/doc/weir/examples"
install -m 755 bin/weir "$root/sbin/weir"
ln -sf ../../sbin/weir "$root/libexec/weir/sendmail"
ln -sf ../../sbin/weir "$root/libexec/weir/mailq"
ln -sf ../../sbin/weir "$root/libexec/weir/newaliases"

# The bridges run scripts in other languages as filters.
for bridge in sdk/*/filter-*; do
	[ ! -f "$bridge" ] || [ ! -x "$bridge" ] || install -m 755 "$bridge" "$root/libexec/weir/"
done
for module in sdk/python/*.py; do
	[ ! -f "$module" ] || install -m 644 "$module" "$root/libexec/weir/"
done
for page in docs/man/*.8; do [ ! -f "$page" ] || install -m 644 "$page" "$root/share/man/man8/"; done
for page in docs/man/*.5; do [ ! -f "$page" ] || install -m 644 "$page" "$root/share/man/man5/"; done
for example in etc/*.conf; do [ ! -f "$example" ] || install -m 644 "$example" "$root/share/doc/weir/examples/"; done

# The default configuration is never overwritten.
etc=${DESTDIR:-}/etc/weir
install -d "$etc"
[ -e "$etc/weir.conf" ] || [ ! -f etc/weir.conf ] || install -m 644 etc/weir.conf "$etc/weir.conf"
echo "installed below $root; $root/libexec/weir/sendmail can stand in for /usr/sbin/sendmail"
