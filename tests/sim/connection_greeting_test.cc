// The PROXY protocol header in front of a socket, on a kernel that takes its time.
#include <cerrno>

#include "world.h"

namespace warren::sim {
namespace {

struct Proxied : World {
  Log log;
  std::string refused;
  Listener<> listener;
  Peer peer;

  explicit Proxied(std::string_view header = "PROXY TCP4 10.1.2.3 10.0.0.1 4000 80\r\nhello") {
    ListenOptions<> options{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
    options.proxyProtocol = ProxyProtocol{.trusted = {"127.0.0.1"}};
    options.acceptError = [this](const Error& error) { refused = error.message(); };
    listener = reactor.listen(std::move(options)).value();
    peer = kernel.connect(80);
    peer.send(header);
  }
};

}  // namespace

TEST_CASE("a PROXY header that the kernel gives in pieces never becomes data", "[proxy]") {
  const size_t piece = GENERATE(1u, 7u, 37u, 38u);
  Proxied world;
  world.kernel.inject(Call::recv, {.limit = piece});
  world.settle();
  REQUIRE(world.log.text() == "open, data");
  REQUIRE(world.log.input == "hello");
  REQUIRE(world.log.socket.remoteAddress().text() == "10.1.2.3:4000");
}

TEST_CASE("a unix listener reads PROXY headers without a list of who is trusted", "[proxy]") {
  const bool adopted = GENERATE(false, true);
  World world;
  Log log;
  ListenOptions<> options{.socket = keeping(log), .proxyProtocol = ProxyProtocol{}};
  if (adopted) {
    options.fd = static_cast<int>(os::sys::socket(Family::unix));
    REQUIRE(os::sys::bindUnix(*options.fd, "/proxied") == 0);
    REQUIRE(os::sys::listen(*options.fd, 10) == 0);
  } else {
    options.unix = "/proxied";
  }
  world.reactor.listen(options).value();
  Peer peer = world.kernel.connectUnix("/proxied");
  peer.send("PROXY TCP4 10.1.2.3 10.0.0.1 4000 80\r\nhello");
  world.settle();
  REQUIRE(log.text() == "open, data");
  REQUIRE(log.input == "hello");
  REQUIRE(log.socket.proxyHeader()->source.text() == "10.1.2.3:4000");
}

TEST_CASE("a PROXY header with a unix address makes no unix socket of a TCP one", "[proxy]") {
  Proxied world;
  world.settle();
  Peer peer = world.kernel.connect(80);
  const std::string header("\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8", 16);
  peer.send(header + std::string(216, '\0'));
  world.settle();
  REQUIRE(world.log.socket.remoteAddress().family() == Family::unix);
  REQUIRE(Socket<>(world.log.socket).setNoDelay(false));
}

TEST_CASE("an adopted TCP listener needs a list of who is trusted with PROXY headers", "[proxy]") {
  World world;
  Log log;
  const int fd = static_cast<int>(os::sys::socket(Family::ipv4));
  REQUIRE(os::sys::bind(fd, kHere, {}) == 0);
  REQUIRE(os::sys::listen(fd, 10) == 0);
  const auto listener =
      world.reactor.listen({.fd = fd, .socket = keeping(log), .proxyProtocol = ProxyProtocol{}});
  REQUIRE(listener.error().message().find("trusted is empty") != std::string::npos);
  os::sys::close(fd);
}

TEST_CASE("a connection that breaks while its PROXY header is taken is refused", "[proxy]") {
  Proxied world;
  world.kernel.fail(Call::recv, ECONNRESET);
  world.settle();
  REQUIRE(world.log.text().empty());
  REQUIRE(world.refused.find("ended before it") != std::string::npos);
  REQUIRE(world.listener.connectionCount() == 0);
}

TEST_CASE("a socket whose PROXY header has come stays open beyond the time for it", "[proxy]") {
  Proxied world;
  world.settle();
  world.elapse(60s);
  REQUIRE(world.log.text() == "open, data");
  Socket<>(world.log.socket).send("still here");
  world.peer.send(", me too");
  world.settle();
  REQUIRE(world.peer.readAll() == "still here");
  REQUIRE(world.log.input == "hello, me too");
  REQUIRE(world.refused.empty());
}

TEST_CASE("a proxy that says nothing, or too slowly, is refused after ten seconds", "[proxy]") {
  const bool silent = GENERATE(true, false);
  Proxied world("");
  world.settle();
  for (const char next : std::string("PROXY TCP")) {
    if (!silent) world.peer.send(std::string(1, next));
    world.elapse(1s);
  }
  world.elapse(999ms);
  REQUIRE(world.refused.empty());
  REQUIRE(world.reactor.stats().sockets == 1);
  world.elapse(2ms);
  REQUIRE(world.refused.find("it did not come in time") != std::string::npos);
  REQUIRE(world.log.text() == "");
  REQUIRE(world.peer.wasReset());
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("a connection whose PROXY header is none is reset, not ended in order", "[proxy]") {
  Proxied world(GENERATE("GET / HTTP/1.1\r\n\r\n", "PROXY TCP4 10.1.2.3", ""));
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE_FALSE(world.refused.empty());
  REQUIRE(world.log.text() == "");
  REQUIRE(world.peer.wasReset());
  REQUIRE(world.reactor.stats().sockets == 0);
}

}  // namespace warren::sim
