#include "support/allocations.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__has_feature)
#define WARREN_HAS_FEATURE(name) __has_feature(name)
#else
#define WARREN_HAS_FEATURE(name) 0
#endif

namespace {

constinit std::atomic<uint64_t> allocationCount{0};

void count() { allocationCount.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

uint64_t warren::test::allocations() { return allocationCount.load(std::memory_order_relaxed); }

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                 \
    WARREN_HAS_FEATURE(address_sanitizer) || WARREN_HAS_FEATURE(thread_sanitizer) || \
    WARREN_HAS_FEATURE(memory_sanitizer)

// These have operators of their own, which find bugs; they tell us of each call instead.
extern "C" void __sanitizer_malloc_hook(const volatile void*, size_t) { count(); }
extern "C" void __sanitizer_free_hook(const volatile void*) {}

#else

namespace {

void* orThrow(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The other forms of the standard library call these.
void* operator new(size_t size) {
  count();
  return orThrow(std::malloc(size != 0 ? size : 1));
}

void* operator new(size_t size, std::align_val_t align) {
  count();
  const auto unit = static_cast<size_t>(align);
  return orThrow(std::aligned_alloc(unit, (size / unit + 1) * unit));  // wants a multiple
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

#endif
