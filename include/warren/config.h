// What this build of warren has. CMake and pkg-config say it to those who use it; without them all is
// there but TLS.
#pragma once

// 0: everything happens on the reactor's thread, look-ups too, and reactors may not meet.
#ifndef WARREN_THREADS
#define WARREN_THREADS 1
#endif

#ifndef WARREN_TLS
#define WARREN_TLS 0
#endif
