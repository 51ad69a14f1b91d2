# Refuses mail by its sender and by a word in its subject, and marks the rest.
#
# Questions come as      filter|VERSION|TIME|smtp-in|PHASE|SESSION|TOKEN|ARGUMENT
# and are answered       filter-result|SESSION|TOKEN|DECISION
# Lines of a message     filter|VERSION|TIME|smtp-in|data-line|SESSION|TOKEN|LINE
# are given back as      filter-dataline|SESSION|TOKEN|LINE
# protocol/FILTER.md says the rest. Run it with filter-awk.
BEGIN {
	FS = "|"
	print "register|report|smtp-in|tx-reset"
	print "register|report|smtp-in|link-disconnect"
	print "register|filter|smtp-in|mail-from"
	print "register|filter|smtp-in|data-line"
	print "register|filter|smtp-in|commit"
	print "register|ready"
	fflush()
}

function forget(session) {
	delete begun[session]
	delete body[session]
	delete lottery[session]
}

function answer(decision) {
	print "filter-result|" $6 "|" $7 "|" decision
}

$1 == "report" { forget($6) }

$1 == "filter" {
	argument = $0
	for (i = 1; i <= 7; i++)
		argument = substr(argument, index(argument, FS) + 1)
}

$1 == "filter" && $5 == "mail-from" {
	if (tolower(argument) ~ /@spam\.example$/)
		answer("reject|550 5.7.1 No mail from there, please")
	else
		answer("proceed")
}

$1 == "filter" && $5 == "data-line" {
	head = "filter-dataline|" $6 "|" $7 "|"
	if (!($6 in begun))
		print head "X-Decide: seen"
	begun[$6] = 1
	if (argument == "")
		body[$6] = 1
	if (!($6 in body) && tolower(argument) ~ /^subject:.*lottery/)
		lottery[$6] = 1
	print head argument
}

$1 == "filter" && $5 == "commit" {
	if ($6 in lottery)
		answer("reject|550 5.7.1 No lottery here, please")
	else
		answer("proceed")
	forget($6)
}

{ fflush() }
