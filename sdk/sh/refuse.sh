#!/bin/sh
# Refuses recipients at example.org: a filter in nothing but sh.
#
# Questions come as  filter|VERSION|TIME|smtp-in|PHASE|SESSION|TOKEN|ARGUMENT
# and are answered   filter-result|SESSION|TOKEN|DECISION
# read -r keeps backslashes, and the last name takes the rest of the line, so
# that an address may hold a |. protocol/FILTER.md says the rest.
printf '%s\n' 'register|filter|smtp-in|rcpt-to' 'register|ready'

while IFS='|' read -r kind version time subsystem phase session token address; do
	[ "$kind" = filter ] || continue # config lines
	case $address in
	*@example.org) decision='reject|550 5.1.1 Nobody there' ;;
	*) decision=proceed ;;
	esac
	printf 'filter-result|%s|%s|%s\n' "$session" "$token" "$decision"
done
