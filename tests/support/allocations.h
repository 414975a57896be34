// Counts allocations, for promises such as "allocates nothing".
#pragma once

#include <cstdint>

namespace warren::test {

// How often this process has called operator new, in any form. Under a sanitizer that brings its own
// heap, calls of malloc count as well.
uint64_t allocations();

}  // namespace warren::test
