/*
 * Portable programs of the 5.7.1 API include this first, for what their
 * build found out about the system. Here it asks for all that libc has.
 */
#ifndef INCLUDES_H
#define INCLUDES_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sys/types.h>

#include <stdint.h>

#endif
