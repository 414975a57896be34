#include "base/memory.h"

#include <cstdlib>

namespace warren::base {

void* allocate(size_t size) { return std::malloc(size); }
void* allocateZeroed(size_t size) { return std::calloc(1, size); }
void* reallocate(void* block, size_t size) { return std::realloc(block, size); }

}  // namespace warren::base
