// Built by `make sim` as a user's test is: with the public headers and libwarren_sim.a alone.
#include <cstdio>

#include "length_prefix.h"

int main() {
  const std::optional<uint64_t> hasty = example::firstBadSeed(200, false);
  const std::optional<uint64_t> careful = example::firstBadSeed(200, true);
  if (hasty) std::printf("the planted bug shows with seed %d\n", static_cast<int>(*hasty));
  if (careful) std::printf("the careful one fails with seed %d\n", static_cast<int>(*careful));
  return hasty && !careful ? 0 : 1;
}
