// base/memory.h on the simulated kernel: memory that runs out by chance.
#include "base/memory.h"

#include <cstdlib>

#include "state.h"

namespace warren::base {

namespace {

bool runsOut() {
  sim::Kernel* kernel = sim::Kernel::ifAny();
  return kernel != nullptr && kernel->state().chance(&sim::Chaos::noMemory);
}

}  // namespace

void* allocate(size_t size) { return runsOut() ? nullptr : std::malloc(size); }
void* allocateZeroed(size_t size) { return runsOut() ? nullptr : std::calloc(1, size); }
void* reallocate(void* block, size_t size) {
  return runsOut() ? nullptr : std::realloc(block, size);
}

}  // namespace warren::base
