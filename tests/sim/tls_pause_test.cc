// A TLS socket and pauses, on the simulated kernel.
#include "support/certificates.h"
#include "world.h"

namespace warren::sim {
namespace {

TEST_CASE("a TLS socket that is paused as its end comes is told of the end, and of no truncation") {
  World world;
  const test::Identity& leaf = test::testLeaf();
  ListenOptions<> served{.hostname = "127.0.0.1", .port = 80};
  served.socket.open = [](SocketHandle socket) { socket.end("all"); };
  served.socket.data = [](SocketHandle, Bytes) {};
  served.tls = TlsOptions{.key = leaf.key, .cert = leaf.cert};
  const auto listener = world.reactor.listen(std::move(served));
  REQUIRE(listener);
  Log log;
  ConnectOptions<> dialed{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
  dialed.tls = TlsOptions{.rejectUnauthorized = false};
  dialed.socket.data = [&](SocketHandle socket, Bytes) {
    log.note(socket, "data");
    world.reactor.defer([socket] { socket.pause(); });
  };
  REQUIRE(world.reactor.connect(std::move(dialed)));
  world.settle();
  REQUIRE(log.text() == "open, data");
  log.socket.resume();
  world.settle();
  REQUIRE(log.text() == "open, data, end, close clean");
}

}  // namespace
}  // namespace warren::sim
