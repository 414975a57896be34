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

TEST_CASE("a socket that a deferred function ends hears of an end that is there already") {
  Served world;
  world.peer.shutdownWrite();
  world.reactor.defer([&] { world.socket.end("bye"); });
  world.settle();
  REQUIRE(world.log.text() == "end, close clean");
  REQUIRE(world.peer.readAll() == "bye");
}

TEST_CASE(
    "a socket that a deferred function closes waits no longer for an end that is there already") {
  Served world;
  world.socket.send("bye");
  world.settle();
  world.peer.shutdownWrite();
  world.reactor.defer([&] { world.socket.close(); });
  world.settle();
  REQUIRE(world.log.text() == "close clean");
  REQUIRE(world.reactor.stats().sockets == 0);
  REQUIRE(world.peer.readAll() == "bye");
}

}  // namespace
}  // namespace warren::sim
