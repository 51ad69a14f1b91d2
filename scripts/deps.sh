#!/bin/sh
# Install the Debian packages that tests use. Tests that miss theirs say so and
# are left out; so without root, sudo or apt this only says what is missing.
set -eu

missing=
for pair in python3:python3 perl:perl gcc:gcc swaks:swaks smtp-source:postfix nc:netcat-openbsd mandoc:mandoc openssl:openssl jq:jq; do
	PATH=$PATH:/usr/sbin command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
for f in rspamd dkimsign senderscore; do
	found=
	for d in /usr/libexec/opensmtpd /usr/lib/opensmtpd /usr/lib/*/opensmtpd; do
		[ ! -x "$d/filter-$f" ] || found=1
	done
	[ -n "$found" ] || missing="$missing opensmtpd-filter-$f"
done
perl -MNet::SSLeay -e 1 2>/dev/null || missing="$missing libnet-ssleay-perl" # swaks needs it for TLS
if [ -z "$missing" ]; then
	exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
	echo "deps: not installed, and there is no apt-get:$missing"
	exit 0
fi
as=
if [ "$(id -u)" != 0 ]; then
	if ! sudo -n true 2>/dev/null; then
		echo "deps: not installed, and there are no rights to:$missing"
		exit 0
	fi
	as="sudo -n"
fi

# Postfix is wanted for smtp-source alone: no service may start from it.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | $as tee "$policy" >/dev/null
	$as chmod 755 "$policy"
	made=1
fi
trap '[ -z "$made" ] || $as rm -f "$policy"' EXIT
echo "postfix postfix/main_mailer_type select No configuration" | $as debconf-set-selections 2>/dev/null || true

export DEBIAN_FRONTEND=noninteractive
$as apt-get update -qq || echo "deps: apt-get update failed; trying with what is known"
# One by one: what one distribution lacks does not take the others with it.
for p in $missing; do
	$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$p" >/dev/null 2>&1 ||
		echo "deps: $p cannot be installed here"
done
