// Connections that break while something else is going on.
#include <algorithm>
#include <cerrno>

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

TEST_CASE("a network that gives a connection up is told to close, once and by its name") {
  const int error = GENERATE(ETIMEDOUT, EHOSTUNREACH);
  World world;
  Log log;
  ListenOptions<> options{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
  options.allowHalfOpen = GENERATE(false, true);
  REQUIRE(world.reactor.listen(std::move(options)));
  world.settle();
  const auto descriptors = world.kernel.openDescriptors();
  const size_t slots = world.reactor.stats().slots;
  Peer peer = world.kernel.connect(80);
  world.settle();
  log.socket.idleTimeout(1h).value();
  peer.room(0);
  log.socket.send(pattern(100'000));
  world.settle();
  world.kernel.fail(Call::recv, error, peer.fd());
  world.kernel.tell(
      {.ready = os::kReadable | os::kEnded | os::kWritable | os::kBroken, .token = peer.token()});
  world.settle();
  REQUIRE(log.text() == "open, close " + describe(Error(Origin::kernel, error, Step::read)));
  world.elapse(2h);
  REQUIRE(log.lines.size() == 2);
  REQUIRE(world.reactor.stats().sockets == 0);
  REQUIRE(world.reactor.stats().slots == slots);
  REQUIRE(world.kernel.openDescriptors() == descriptors);
}

TEST_CASE("a descriptor stays the caller's when there is no memory to adopt it") {
  World world;
  const auto [fd, peer] = world.kernel.connectedPair(Family::ipv4);
  int refused = 0;
  for (uint64_t seed = 1; seed < 10'000; ++seed) {
    Log log;
    world.kernel.chaos({.seed = seed, .noMemory = 500});
    ConnectOptions<> options{.fd = fd, .socket = keeping(log)};
    if (world.reactor.connect(std::move(options))) break;
    ++refused;
    const std::vector<int> open = world.kernel.openDescriptors();
    REQUIRE(std::count(open.begin(), open.end(), fd) == 1);
  }
  REQUIRE(refused > 0);
  world.kernel.chaos({});
  world.shutDown();
}

TEST_CASE("a listener without descriptors and memory accepts again once there are some") {
  Log log;
  World world;
  ListenOptions<> options{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
  REQUIRE(world.reactor.listen(std::move(options)));
  world.settle();
  world.kernel.chaos({.noMemory = 1000});
  for (int call = 0; call < 3; ++call) world.kernel.fail(Call::accept, ENFILE);
  world.kernel.connect(80);
  world.reactor.step();
  REQUIRE(log.lines.empty());
  world.kernel.chaos({});
  world.kernel.connect(80);
  world.elapse(1s);
  REQUIRE(log.count("open") > 0);
}

}  // namespace
}  // namespace warren::sim
