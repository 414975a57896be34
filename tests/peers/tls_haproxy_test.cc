// warren's TLS behind a real HAProxy, which passes it on unread and says before it who its client is.
#include <string>

#include "haproxy.h"
#include "support/examples.h"
#include "tls_peers.h"

namespace warren::test {

TEST_CASE("HAProxy says who its client is, and TLS begins after that", "[peers][tls]") {
  const std::string program = peerPath("haproxy");
  if (program.empty()) return;
  const Files files;
  Address client;
  Address source;
  std::string answer;
  Error refusal;
  Reactor reactor;
  auto listener = reactor
                      .listen<>({.hostname = "127.0.0.1",
                                 .port = 0,
                                 .socket = {.data =
                                                [&](Socket<> socket, Bytes bytes) {
                                                  source = socket.remoteAddress();
                                                  socket.send(bytes);
                                                }},
                                 .proxyProtocol = ProxyProtocol{.trusted = {"127.0.0.1"}},
                                 .tls = files.options(),
                                 .acceptError = [&](const Error& error) { refusal = error; }})
                      .value();
  const Haproxy proxy(program, static_cast<uint16_t>(listener.port()), "send-proxy-v2");
  const auto read = [&](Socket<> socket, Bytes bytes) {
    answer += asText(bytes);
    client = socket.localAddress();
  };
  Socket<> socket =
      reactor
          .connect<>({.hostname = "127.0.0.1",
                      .port = proxy.port(),
                      .socket = {.data = read,
                                 .connectError = [&](Socket<>, const Error& e) { refusal = e; }},
                      .tls = files.clientOptions()})
          .value();
  REQUIRE(socket.send("hello"));
  runUntil(reactor, [&] { return refusal || answer == "hello"; });
  INFO(refusal.message());
  REQUIRE_FALSE(refusal);
  REQUIRE(socket.tls().authorized());
  REQUIRE(source == client);
}

TEST_CASE("echo speaks TLS through its proxy, and with nobody else", "[peers][tls][examples]") {
  const std::string program = peerPath("haproxy");
  if (program.empty()) return;
  const Files files;
  Server echo("echo", echoOptions(files, {"--proxy", "127.0.0.1"}));
  const Haproxy proxy(program, echo.port(), "send-proxy-v2");
  const Visit through = visit(proxy.port(), files.clientOptions(), "hello", "hello");
  REQUIRE_FALSE(through.error);
  REQUIRE(through.authorized);
  const Visit past = visit(echo.port(), files.clientOptions(), "hello", "hello");
  REQUIRE(past.error);
  REQUIRE(past.answer.empty());
  REQUIRE(echo.stop() == 0);
}

}  // namespace warren::test
