// Memory for slots and bytes. A seam: the simulated kernel of the tests links functions of the same names
// that run out by chance.
#pragma once

#include <cstddef>

namespace warren::base {

// malloc(3), calloc(3) and realloc(3); null when there is no memory. free(3) gives it back.
void* allocate(size_t size);
void* allocateZeroed(size_t size);
void* reallocate(void* block, size_t size);

}  // namespace warren::base
