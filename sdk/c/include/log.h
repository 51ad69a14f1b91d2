/* Logging: one line to standard error, which the server logs. printf-style. */
#ifndef LOG_H
#define LOG_H

#if defined(__GNUC__)
#define LOG_FORMAT(f, a) __attribute__((format(printf, f, a)))
#define LOG_NORETURN __attribute__((noreturn))
#else
#define LOG_FORMAT(f, a)
#define LOG_NORETURN
#endif

/* log_init: debug other than 0 is log_verbose(TRACE_DEBUG). */
void log_init(int debug);
/* log_verbose: which log_trace, and with TRACE_DEBUG log_debug, are heard. */
void log_verbose(int mask);
void log_trace(int mask, const char *, ...) LOG_FORMAT(2, 3);
void log_debug(const char *, ...) LOG_FORMAT(1, 2);
void log_info(const char *, ...) LOG_FORMAT(1, 2);
/* log_warn adds what errno says, log_warnx does not. */
void log_warn(const char *, ...) LOG_FORMAT(1, 2);
void log_warnx(const char *, ...) LOG_FORMAT(1, 2);
/* fatal and fatalx log and end the filter with status 1. */
void fatal(const char *, ...) LOG_FORMAT(1, 2) LOG_NORETURN;
void fatalx(const char *, ...) LOG_FORMAT(1, 2) LOG_NORETURN;

#endif
