#!/bin/sh
# Install what weir is measured side by side with: Postfix and libmilter, and
# OpenSMTPD unpacked below $OPENSMTPD (/opt/opensmtpd), as Debian's packages of
# the two exclude each other. No server is started. Needs root.
set -eu

OPENSMTPD=${OPENSMTPD:-/opt/opensmtpd}
if [ "$(id -u)" != 0 ]; then
	echo "bench-deps: this needs root" >&2
	exit 1
fi

policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	made=1
fi
download=$(mktemp -d)
trap 'rm -rf "$download"; [ -z "$made" ] || rm -f "$policy"' EXIT

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
apt-get install -y -qq --no-install-recommends gcc libc6-dev libmilter-dev postfix

if [ ! -x "$OPENSMTPD/usr/sbin/smtpd" ]; then
	# What it needs besides, without the package itself.
	apt-get install -y -qq --no-install-recommends libdb5.3 libevent-2.1-7
	chown _apt "$download" # whose rights apt downloads with
	(cd "$download" && apt-get download -qq opensmtpd)
	dpkg -x "$download"/opensmtpd_*.deb "$OPENSMTPD"
fi
for user in opensmtpd opensmtpq; do
	getent passwd "$user" >/dev/null || useradd -r -M -d /nonexistent -s /usr/sbin/nologin "$user"
done
mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd
