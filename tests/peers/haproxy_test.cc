// warren behind a real HAProxy: the PROXY protocol as its inventor speaks it.
#include "haproxy.h"

#include <string>
#include <system_error>

#include "peers.h"
#include "support/catch.h"
#include "support/examples.h"
#include "support/net.h"
#include "warren/warren.h"

namespace warren::test {
TEST_CASE("HAProxy says who its client is, in both versions", "[peers]") {
  const std::string program = peerPath("haproxy");
  if (program.empty()) return;
  const auto [how, version] = GENERATE(table<std::string, int>(
      {{"send-proxy", 1}, {"send-proxy-v2", 2}, {"send-proxy-v2 proxy-v2-options crc32c", 2}}));
  INFO(how);
  Address client;
  ProxyHeader header;
  Error refusal;
  Reactor reactor;
  auto listener =
      reactor
          .listen<>({.hostname = "127.0.0.1",
                     .port = 0,
                     .socket = {.open =
                                    [&](Socket<> socket) {
                                      client = socket.remoteAddress();
                                      header = *socket.proxyHeader();
                                    },
                                .data = [](Socket<> socket, Bytes bytes) { socket.send(bytes); }},
                     .proxyProtocol = ProxyProtocol{.trusted = {"127.0.0.1"}},
                     .acceptError = [&](const Error& error) { refusal = error; }})
          .value();
  const Haproxy proxy(program, static_cast<uint16_t>(listener.port()), how);
  RawSocket peer = RawSocket::connectTcp(proxy.port());
  peer.sendAll("hello");
  std::string back;
  runUntil(reactor, [&] { return refusal || (back += peer.readSome()) == "hello"; });
  INFO(refusal.message());
  REQUIRE_FALSE(refusal);
  REQUIRE(header.version == version);
  REQUIRE(client == Address::ipv4({127, 0, 0, 1}, peer.port()));
  REQUIRE(header.destination == Address::ipv4({127, 0, 0, 1}, proxy.port()));
}

TEST_CASE("echo serves the clients of its proxy, and nobody else", "[peers][examples]") {
  const std::string program = peerPath("haproxy");
  if (program.empty()) return;
  const std::string how = GENERATE("send-proxy", "send-proxy-v2");
  INFO(how);
  Server echo("echo", {"--host", "127.0.0.1", "--proxy", "127.0.0.1"});
  const Haproxy proxy(program, echo.port(), how);
  RawSocket client = RawSocket::connectTcp(proxy.port());
  client.sendAll("through the proxy");
  REQUIRE(client.readExactly(17) == "through the proxy");
  client.shutdownWrite();
  REQUIRE(client.readAll().empty());

  RawSocket stranger = RawSocket::connectTcp(echo.port());
  stranger.sendAll("not through the proxy");
  REQUIRE_THROWS_AS(stranger.readAll(), std::system_error);
  REQUIRE(echo.stop() == 0);
}

}  // namespace warren::test
