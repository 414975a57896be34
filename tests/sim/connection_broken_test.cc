// Connections that break while something else is going on.
#include "world.h"

namespace warren::sim {
namespace {

TEST_CASE("a half-open socket hears of a reset that came together with the peer's end") {
  ListenOptions<> options;
  options.allowHalfOpen = true;
  Served world(std::move(options));
  if (GENERATE(false, true)) world.peer.send("bye");
  world.peer.shutdownWrite();
  world.peer.reset();
  world.settle();
  REQUIRE(world.log.count("end") == 1);
  REQUIRE(world.log.lines.back().starts_with("close E"));
}

}  // namespace
}  // namespace warren::sim
