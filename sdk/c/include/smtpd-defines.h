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

/* Bytes of a part of an address and of a host name, NUL included. */
#define SMTPD_MAXLOCALPARTSIZE	256
#define SMTPD_MAXDOMAINPARTSIZE	256
#define SMTPD_MAXHOSTNAMELEN	256
#define SMTPD_MAXLINESIZE	2048

/* Where a filter that was started as root goes if it says nothing else. */
#define SMTPD_USER	"_smtpd"
#define PATH_CHROOT	"/var/empty"

#endif
