#include "net/token.h"

#include <set>

#include "os/poller.h"
#include "support/catch.h"

namespace warren::net {
namespace {

TEST_CASE("a token gives back the slot and the part it was made of") {
  for (const uint32_t index : {0u, 1u, 63u, 64u, base::Slab::kMaxSlots - 1}) {
    for (const uint32_t generation : {1u, 2u, UINT32_MAX}) {
      for (Part part = 0; part < kListenerPart + kMaxEndpoints; ++part) {
        const uint64_t token = toToken({index, generation}, part);
        REQUIRE(slotOf(token) == base::SlotId{index, generation});
        REQUIRE(partOf(token) == part);
      }
    }
  }
}

TEST_CASE("tokens of different parts, slots and generations differ") {
  std::set<uint64_t> tokens;
  for (uint32_t index = 0; index < 100; ++index) {
    for (uint32_t generation = 1; generation < 10; ++generation) {
      for (Part part = 0; part < 16; ++part) tokens.insert(toToken({index, generation}, part));
    }
  }
  REQUIRE(tokens.size() == 100 * 9 * 16);
}

TEST_CASE("attempts and endpoints share the parts without meeting") {
  REQUIRE(kSocketPart == 0);
  REQUIRE(kMaxAttempts <= kListenerPart);
  REQUIRE(kListenerPart + kMaxEndpoints <= 16);
}

}  // namespace
}  // namespace warren::net
