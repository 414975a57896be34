// Poison: makes the use of a receive view after its handler visible.
#pragma once

#include <cstring>

#include "warren/bytes.h"

namespace warren::base {

// Overwrites bytes that nobody may look at any more; only in builds that look for such uses.
inline void poison([[maybe_unused]] Bytes bytes) {
#if !defined(NDEBUG) || defined(__SANITIZE_ADDRESS__)
  std::memset(const_cast<std::byte*>(bytes.data()), 0xdd, bytes.size());
#endif
}

}  // namespace warren::base
