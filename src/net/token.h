// Token: what the kernel carries for us and gives back with an event.
#pragma once

#include <cstdint>

#include "base/slab.h"

namespace warren::net {

// "No slot", in links that are slot numbers.
constexpr uint32_t kNone = UINT32_MAX;

// A descriptor's place in the slot that owns it. A socket has one descriptor, but while it is being
// dialed up to kMaxAttempts of them; a listener has one for each address it is bound to.
using Part = uint32_t;
constexpr Part kSocketPart = 0;  // the socket's own, and the first attempt's
constexpr Part kMaxAttempts = 8;
constexpr Part kListenerPart = 8;
constexpr Part kMaxEndpoints = 8;

// generation (32 bits), part (4), slot index (28)
static_assert(base::Slab::kMaxSlots <= uint32_t{1} << 28);

constexpr uint64_t toToken(base::SlotId id, Part part) {
  return uint64_t{id.generation} << 32 | uint64_t{part} << 28 | id.index;
}
constexpr base::SlotId slotOf(uint64_t token) {
  return {static_cast<uint32_t>(token) & (base::Slab::kMaxSlots - 1),
          static_cast<uint32_t>(token >> 32)};
}
constexpr Part partOf(uint64_t token) { return static_cast<uint32_t>(token) >> 28; }

}  // namespace warren::net
