// WARREN_CHECK: an invariant that stays on in release. A failed check is a bug in warren: the world
// outside (peer, kernel, configuration, user) can only cause a Result or a handler call.
#pragma once

namespace warren::base {

// Prints `file:line: what` to stderr and aborts.
[[noreturn]] void checkFailed(const char* file, int line, const char* what) noexcept;

// Prints `warren: what` to stderr and aborts: for uses that cannot be answered with an error,
// such as a reactor that is destroyed by one of its own handlers.
[[noreturn]] void fatal(const char* what) noexcept;

}  // namespace warren::base

#define WARREN_CHECK(condition)                      \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::warren::base::checkFailed(__FILE__, __LINE__, #condition))

// For O(n) and per-byte work: off when NDEBUG is defined.
#ifdef NDEBUG
#define WARREN_DCHECK(condition) static_cast<void>(0)
#else
#define WARREN_DCHECK(condition) WARREN_CHECK(condition)
#endif
