#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace warren::base {

void checkFailed(const char* file, int line, const char* what) noexcept {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what);
  std::abort();
}

void fatal(const char* what) noexcept {
  std::fprintf(stderr, "warren: %s\n", what);
  std::abort();
}

}  // namespace warren::base
