// Poison: makes the use of a receive view after its handler visible.
#pragma once

#include <cstddef>
#include <cstring>

#include "warren/bytes.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WARREN_ASAN 1
#endif
#endif
#if !defined(WARREN_ASAN)
#if defined(__SANITIZE_ADDRESS__)
#define WARREN_ASAN 1
#else
#define WARREN_ASAN 0
#endif
#endif

#if WARREN_ASAN
// As <sanitizer/asan_interface.h> declares them.
extern "C" void __asan_poison_memory_region(void const volatile* begin, size_t size);
extern "C" void __asan_unpoison_memory_region(void const volatile* begin, size_t size);
#endif

namespace warren::base {

// Nobody may look at these bytes any more. AddressSanitizer traps who does; debug builds overwrite
// them; others do nothing.
inline void poison([[maybe_unused]] Bytes bytes) {
#if WARREN_ASAN
  __asan_poison_memory_region(bytes.data(), bytes.size());
#elif !defined(NDEBUG)
  std::memset(const_cast<std::byte*>(bytes.data()), 0xdd, bytes.size());
#endif
}

// They are used anew.
inline void unpoison([[maybe_unused]] Bytes bytes) {
#if WARREN_ASAN
  __asan_unpoison_memory_region(bytes.data(), bytes.size());
#endif
}

}  // namespace warren::base
