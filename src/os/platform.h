// The only place that asks which system and compiler this is. Everything else asks these names.
#pragma once

#include "warren/config.h"

#if defined(__linux__)
#define WARREN_LINUX 1
#else
#define WARREN_LINUX 0
#endif

#if defined(__APPLE__)
#define WARREN_DARWIN 1
#else
#define WARREN_DARWIN 0
#endif

// WARREN_KQUEUE=1 may be given on the command line: the tests run that backend on Linux, over an
// emulation of <sys/event.h>.
#if !defined(WARREN_KQUEUE)
#if WARREN_DARWIN || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__) || \
    defined(__DragonFly__)
#define WARREN_KQUEUE 1
#else
#define WARREN_KQUEUE 0
#endif
#endif

#define WARREN_EPOLL (WARREN_LINUX && !WARREN_KQUEUE)

#if !WARREN_EPOLL && !WARREN_KQUEUE
#error "warren needs epoll (Linux) or kqueue (macOS, FreeBSD, NetBSD, OpenBSD, DragonFly)"
#endif

// The one processor where epoll_event has no padding: its 32-bit programs have none by nature.
#if WARREN_EPOLL && defined(__x86_64__)
#define WARREN_PACKED_EVENT [[gnu::packed]]
#else
#define WARREN_PACKED_EVENT
#endif

#if defined(__cpp_exceptions)
#define WARREN_EXCEPTIONS 1
#else
#define WARREN_EXCEPTIONS 0
#endif
