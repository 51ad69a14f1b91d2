#!/bin/sh
# Install below $DESTDIR$PREFIX; called by "make install".
set -eu
cd "$(dirname "$0")/.."
root=${DESTDIR:-}${PREFIX:-/usr/local}

install -d "$root/sbin" "$root/libexec/weir" "$root/share/man/man5" "$root/share/man/man7" "$root/share/man/man8" \
	"$root/share/doc/weir/examples"
install -m 755 bin/weir "$root/sbin/weir"
ln -sf ../../sbin/weir "$root/libexec/weir/sendmail"
ln -sf ../../sbin/weir "$root/libexec/weir/mailq"
ln -sf ../../sbin/weir "$root/libexec/weir/newaliases"

# The bridges run scripts in other languages as filters.
for bridge in sdk/*/filter-*; do
	[ ! -f "$bridge" ] || [ ! -x "$bridge" ] || install -m 755 "$bridge" "$root/libexec/weir/"
done
for module in sdk/python/*.py sdk/perl/*.pm sdk/sh/filtertest; do
	case $module in */test_*) continue ;; esac
	[ ! -f "$module" ] || install -m 644 "$module" "$root/libexec/weir/"
done
for section in 5 7 8; do
	for page in docs/man/*.$section; do
		[ ! -f "$page" ] || install -m 644 "$page" "$root/share/man/man$section/"
	done
done
for example in etc/*.conf etc/*.service; do [ ! -f "$example" ] || install -m 644 "$example" "$root/share/doc/weir/examples/"; done

# The default configuration is never overwritten.
etc=${DESTDIR:-}/etc/weir
install -d "$etc"
[ -e "$etc/weir.conf" ] || [ ! -f etc/weir.conf ] || install -m 644 etc/weir.conf "$etc/weir.conf"
echo "installed below $root; $root/libexec/weir/sendmail can stand in for /usr/sbin/sendmail"
id -u _weir >/dev/null 2>&1 || echo "the server gives up root's rights when there is a user for it: useradd --system --no-create-home _weir"
id -u _weirfilter >/dev/null 2>&1 || echo "filters get their own user when there is one: useradd --system --no-create-home _weirfilter"
