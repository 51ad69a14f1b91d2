# Puts [LIST] in front of each subject: a filter in nothing but awk, which
# filter-awk runs.
#
# Lines of a message come as  filter|VERSION|TIME|smtp-in|data-line|SESSION|TOKEN|LINE
# and are given back as       filter-dataline|SESSION|TOKEN|LINE
# escaped dots are given back as they came. protocol/FILTER.md says the rest.
BEGIN {
	FS = "|"
	print "register|report|smtp-in|tx-reset"
	print "register|report|smtp-in|link-disconnect"
	print "register|filter|smtp-in|data-line"
	print "register|ready"
	fflush()
}
$1 == "report" { delete body[$6] }
$1 == "filter" {
	line = $0
	for (i = 1; i <= 7; i++)
		line = substr(line, index(line, FS) + 1)
	if (line == "")
		body[$6] = 1
	if (!($6 in body) && tolower(line) ~ /^subject:/)
		line = "Subject: [LIST]" substr(line, 9)
	print "filter-dataline|" $6 "|" $7 "|" line
	fflush()
}
