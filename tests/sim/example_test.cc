// The example of how users test their protocols.
#include "example/length_prefix.h"

#include "support/catch.h"

namespace {

TEST_CASE("the example finds the bug that is planted in its protocol, and none without it") {
  const std::optional<uint64_t> seed = example::firstBadSeed(200, false);
  REQUIRE(seed);
  REQUIRE_FALSE(example::works(*seed, false));
  REQUIRE_FALSE(example::firstBadSeed(200, true));
}

}  // namespace
