// Many handshakes at a time, beside sockets that are open already.
#include <string>
#include <vector>

#include "support/catch.h"
#include "support/certificates.h"
#include "support/net.h"
#include "support/recorder.h"
#include "tls/ends.h"
#include "warren/warren.h"

namespace warren {
namespace {

using test::RawSocket;
using test::Recorder;
using test::runUntil;

// A listener whose sockets need no handler but `data`.
Result<Listener<>> tlsListener(Reactor& reactor, const TlsOptions& tls) {
  return reactor.listen<>({.hostname = "127.0.0.1",
                           .port = 0,
                           .socket = {.data = [](Socket<>, Bytes) {}},
                           .backlog = 2000,
                           .tls = tls});
}

// A ClientHello, which may be sent any number of times.
std::string hello() {
  test::Ends both = test::ends(test::serverOptions(), test::clientOptions());
  both.client.feed({});
  return both.client.take();
}

std::vector<RawSocket> dialMany(int port, size_t count) {
  std::vector<RawSocket> clients;
  for (size_t at = 0; at < count; ++at) {
    clients.push_back(RawSocket::connectTcp(static_cast<uint16_t>(port)));
  }
  return clients;
}

}  // namespace

TEST_CASE("a thousand slow handshakes do not keep an established socket waiting", "[tls]") {
  constexpr size_t kClients = 1000;
  ReactorOptions options;
  options.handshakeBudget = 3;
  Reactor reactor(options);
  const auto listener = tlsListener(reactor, test::serverOptions()).value();
  const auto echo = [](Socket<> socket, Bytes bytes) { REQUIRE(socket.write(bytes) == 1); };
  const auto plain =
      reactor.listen<>({.hostname = "127.0.0.1", .port = 0, .socket = {.data = echo}}).value();
  RawSocket pinger = RawSocket::connectTcp(static_cast<uint16_t>(plain.port()));
  std::vector<RawSocket> clients = dialMany(listener.port(), kClients);
  runUntil(reactor, [&] { return reactor.stats().accepted == kClients + 1; });

  const std::string whole = hello();
  const std::string_view slow(whole);
  for (RawSocket& client : clients) client.sendAll(slow.substr(0, 100));
  runUntil(reactor, [&] { return reactor.stats().reads >= kClients; });
  REQUIRE(reactor.stats().writes == 0);
  // All go on at once. The kernel tells of a thousand sockets in several pieces.
  const uint64_t events = reactor.stats().events;
  for (RawSocket& client : clients) client.sendAll(slow.substr(100));
  while (reactor.stats().events < events + kClients) reactor.step();

  size_t turns = 0;
  size_t answered = reactor.stats().writes;
  for (; answered < kClients; ++turns) {
    const uint64_t before = reactor.stats().writes;
    pinger.sendAll("x");
    reactor.step();
    REQUIRE(pinger.readExactly(1) == "x");
    const size_t hellos = reactor.stats().writes - before - 1;
    REQUIRE(hellos <= options.handshakeBudget);
    answered += hellos;
  }
  REQUIRE(turns >= 200);
  for (RawSocket& client : clients) client.readExactly(100);  // of a ServerHello
}

TEST_CASE("beyond maxHandshakes connections wait in the kernel's queue until one is done",
          "[tls]") {
  TlsOptions tls = test::serverOptions();
  tls.maxHandshakes = 2;
  tls.handshakeTimeout = Duration();  // a slow machine cuts nobody
  Reactor reactor;
  const auto listener = tlsListener(reactor, tls).value();
  std::vector<RawSocket> clients = dialMany(listener.port(), 5);
  const auto accepted = [&] { return listener.stats().accepted; };
  const auto settle = [&] {
    for (int turn = 0; turn < 20; ++turn) reactor.step();
  };
  runUntil(reactor, [&] { return accepted() == 2; });
  settle();
  REQUIRE(accepted() == 2);

  SECTION("by going away") {
    clients[0].close();
    runUntil(reactor, [&] { return accepted() == 3; });
    settle();
    REQUIRE(accepted() == 3);
  }
  SECTION("by failing") {
    clients[1].sendAll("GET / HTTP/1.0\r\n\r\n");
    runUntil(reactor, [&] { return accepted() == 3; });
  }
  SECTION("by being agreed on, and an open socket does not count") {
    const auto shake = [&](RawSocket& client) {
      test::Ends ends = test::ends(test::serverOptions(), test::clientOptions());
      ends.client.feed({});
      runUntil(reactor, [&] {
        client.sendAll(ends.client.take());
        ends.client.feed(client.readSome());
        return ends.client.readies == 1 && ends.client.output().empty();
      });
    };
    shake(clients[0]);
    shake(clients[1]);
    runUntil(reactor, [&] { return accepted() == 4; });
    REQUIRE(reactor.stats().handshakes == 2);
  }
  SECTION("by a policy with more room") {
    tls.maxHandshakes = 0;
    REQUIRE(listener.reloadTls(tls));
    runUntil(reactor, [&] { return accepted() == 5; });
  }
}

TEST_CASE("in open, before the handshake, a socket is told whom to ask for and to verify",
          "[tls]") {
  test::Recorder events;
  Reactor reactor;
  TlsOptions tls = test::serverOptions();
  tls.ca = test::testAuthority().cert;
  SocketHandlers<> servers = events.handlers("server");
  servers.open = [](Socket<> socket) {
    REQUIRE(socket.tls().setVerifyMode(true, true));
    REQUIRE_FALSE(socket.tls().setServerName("localhost"));  // it does not dial
  };
  servers.handshake = [&](Socket<> socket, bool ok, const Error& error) {
    events.note("server", ok ? "handshake ok" : "handshake failed", error);
    REQUIRE_FALSE(socket.tls().setVerifyMode(false, false));
  };
  const auto listener =
      reactor.listen<>({.hostname = "127.0.0.1", .port = 0, .socket = servers, .tls = tls}).value();
  TlsOptions showing = test::clientOptions();
  showing.key = test::testLeaf().key;
  showing.cert = test::testLeaf().cert;
  SocketHandlers<> clients = events.handlers("client");
  clients.open = [](Socket<> socket) {
    REQUIRE(socket.tls().setServerName("www.example.com"));
    REQUIRE_FALSE(socket.tls().setSession("no session"));
  };
  clients.handshake = [&](Socket<> socket, bool ok, const Error& error) {
    events.note("client", ok ? "handshake ok" : "handshake failed", error);
    REQUIRE_FALSE(socket.tls().setServerName("localhost"));
  };
  const auto client =
      reactor
          .connect<>(
              {.hostname = "127.0.0.1", .port = listener.port(), .socket = clients, .tls = showing})
          .value();
  runUntil(reactor,
           [&] { return events.has("server handshake") && events.has("client handshake"); });
  REQUIRE(events.has("server handshake ok clean"));
  REQUIRE(events.has("client handshake ok clean"));
  REQUIRE(client.tls().serverName() == "www.example.com");
  REQUIRE(client.tls().sharedSignatureAlgorithms() ==
          std::vector<std::string>{"ecdsa_secp256r1_sha256"});
  Socket<> gone;
  REQUIRE_FALSE(gone.tls().setServerName("localhost"));
  REQUIRE_FALSE(gone.tls().setVerifyMode(true, true));
  REQUIRE(gone.tls().ticket().empty());
}

}  // namespace warren
