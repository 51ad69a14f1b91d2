/* Sizes and masks that programs of the filter API use. */
#ifndef SMTPD_DEFINES_H
#define SMTPD_DEFINES_H

#ifndef nitems
#define nitems(a) (sizeof((a)) / sizeof((a)[0]))
#endif

/* Masks of log_verbose() and log_trace(). */
#define TRACE_DEBUG	0x0001
#define TRACE_IMSG	0x0002
#define TRACE_IO	0x0004
#define TRACE_SMTP	0x0008
#define TRACE_FILTERS	0x0010
#define TRACE_MTA	0x0020
#define TRACE_BOUNCE	0x0040
#define TRACE_SCHEDULER	0x0080
#define TRACE_LOOKUP	0x0100
#define TRACE_STAT	0x0200
#define TRACE_RULES	0x0400
#define TRACE_MPROC	0x0800
#define TRACE_EXPAND	0x1000
#define TRACE_TABLES	0x2000
#define TRACE_QUEUE	0x4000

/* Bytes of a part of an address and of a host name, NUL included. */
#define SMTPD_MAXLOCALPARTSIZE	256
#define SMTPD_MAXDOMAINPARTSIZE	256
#define SMTPD_MAXHOSTNAMELEN	256
#define SMTPD_MAXPATHLEN	1024
#define SMTPD_MAXLOGNAME	32
#define SMTPD_MAXLINESIZE	2048

/* Where a filter that was started as root goes if it says nothing else. */
#define SMTPD_USER	"_smtpd"
#define PATH_CHROOT	"/var/empty"

/* Where a filter looks for its configuration; builds may say otherwise. */
#ifndef SMTPD_CONFDIR
#define SMTPD_CONFDIR	"/etc/mail"
#endif

#define TAG_CHAR	'+'	/* user+tag@ */

#endif
