#!/bin/sh
# @NAME@ is a mail filter: it refuses mail from one domain.
#
# Questions come as  filter|VERSION|TIME|smtp-in|PHASE|SESSION|TOKEN|ARGUMENT
# and are answered   filter-result|SESSION|TOKEN|DECISION
# Only these lines go to standard output; standard error is the log.
LC_ALL=C
export LC_ALL
refused=spam.example # in lower case

printf '%s\n' 'register|filter|smtp-in|mail-from' 'register|ready'

# The last name of read takes the rest of the line: an address may hold a |.
while IFS='|' read -r kind version time subsystem phase session token address; do
	[ "$kind" = filter ] || continue # config lines
	decision=proceed
	case $(printf '%s' "$address" | tr '[:upper:]' '[:lower:]') in
	*@"$refused") decision='reject|550 5.7.1 No mail from there, please' ;;
	esac
	printf 'filter-result|%s|%s|%s\n' "$session" "$token" "$decision"
done
