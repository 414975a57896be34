// Sockets that speak TLS: the same handlers and verbs, on loopback.
#include <cerrno>
#include <functional>
#include <string>

#include "support/catch.h"
#include "support/certificates.h"
#include "support/net.h"
#include "support/recorder.h"
#include "tls/both.h"
#include "warren/warren.h"

namespace warren {
namespace {

using namespace std::chrono_literals;
using test::Both;
using test::clientTls;
using test::Lines;
using test::noteHandshake;
using test::RawSocket;
using test::Recorder;
using test::runUntil;
using test::serverTls;

}  // namespace

// --- the handshake -----------------------------------------------------------------------------------

TEST_CASE("tls: open follows the handshake, and bytes go both ways", "[tls]") {
  Both both;
  REQUIRE(both.client.readyState() == ReadyState::connecting);
  both.bothOpen();
  REQUIRE(both.client.send("question"));
  both.until("server data question");
  REQUIRE(both.server.write("answer") == 6);
  both.until("client data answer");
  REQUIRE(both.client.bytesWritten() == 8);
  REQUIRE(both.client.bytesRead() == 6);
  REQUIRE(both.client.tls());
  REQUIRE(both.client.tls().authorized());
  REQUIRE(both.client.tls().version() == TlsVersion::tls13);
  REQUIRE(both.reactor.stats().handshakes == 2);
}

TEST_CASE("tls: with a handshake handler open comes first and writes wait for it", "[tls]") {
  Both both;
  // The table is set before the first turn.
  SocketHandlers<> handlers = both.events.handlers("client");
  noteHandshake(both.events, handlers, "client");
  handlers.open = [&](Socket<> socket) {
    both.events.note("client", "open");
    REQUIRE(socket.write("too early") == 0);
    REQUIRE(socket.send("queued"));
  };
  REQUIRE(both.client.reload(std::move(handlers)));
  both.until("client drain");
  both.until("server data queued");
  REQUIRE(both.events.of("client") == Lines{"open", "handshake ok clean", "drain"});
}

TEST_CASE("tls: what is sent while connecting goes out after the handshake", "[tls]") {
  Both both;
  REQUIRE(both.client.send("early "));
  REQUIRE(both.client.end("bird") == 4);
  both.until("server close");
  REQUIRE(both.events.of("server") == Lines{"open", "data early bird", "end", "close clean"});
  both.until("client close");
  REQUIRE(both.events.of("client") == Lines{"open", "end", "close clean"});
}

TEST_CASE("tls: a peer that is not trusted is told to connectError and error, never to open",
          "[tls]") {
  Both both([](ListenOptions<>&, ConnectOptions<>& connect) { connect.tls = true; });
  both.until("client connectError");
  both.until("server error");
  REQUIRE(both.events.lines().size() == 2);
  REQUIRE(both.events.error("client").origin() == Origin::tls);
  REQUIRE(both.events.error("client").name() == "UNABLE_TO_VERIFY_LEAF_SIGNATURE");
  REQUIRE(both.events.error("server").origin() == Origin::tls);
  REQUIRE(both.reactor.stats().handshakeFailures == 2);
}

TEST_CASE("tls: a failed handshake is told to handshake, and close is clean", "[tls]") {
  Both both([](ListenOptions<>&, ConnectOptions<>& connect) { connect.tls = true; });
  SocketHandlers<> handlers = both.events.handlers("client");
  noteHandshake(both.events, handlers, "client");
  REQUIRE(both.client.reload(std::move(handlers)));
  both.until("client close");
  REQUIRE(both.events.of("client") ==
          Lines{"open", "handshake failed UNABLE_TO_VERIFY_LEAF_SIGNATURE", "close clean"});
}

TEST_CASE("tls: a wrong name is refused", "[tls]") {
  Both both([](ListenOptions<>&, ConnectOptions<>& connect) {
    connect.tls = TlsOptions{.ca = test::testAuthority().cert, .serverName = "elsewhere.test"};
  });
  both.until("client connectError");
  REQUIRE(both.events.error("client").name() == "ERR_TLS_CERT_ALTNAME_INVALID");
}

TEST_CASE("tls: a client that speaks plaintext is told to error, and nothing else", "[tls]") {
  Both both([](ListenOptions<>&, ConnectOptions<>& connect) { connect.tls = false; });
  REQUIRE(both.client.send("GET / HTTP/1.0\r\n\r\n"));
  both.until("server error");
  REQUIRE(both.events.of("server").size() == 1);
  REQUIRE(both.events.error("server").origin() == Origin::tls);
}

TEST_CASE("tls: a silent client is cut by handshakeTimeout", "[tls]") {
  Both both([](ListenOptions<>& listen, ConnectOptions<>& connect) {
    TlsOptions tls = serverTls();
    tls.handshakeTimeout = 30ms;
    listen.tls = tls;
    connect.tls = false;
  });
  both.until("server error");
  REQUIRE(both.events.error("server").isErrno(ETIMEDOUT));
  REQUIRE(both.events.error("server").step() == Step::handshake);
  both.until("client close");
}

TEST_CASE("tls: a peer that goes away during the handshake is told", "[tls]") {
  Recorder events;
  Reactor reactor;
  RawSocket listening = RawSocket::listenTcp();
  REQUIRE(reactor.connect({.hostname = "127.0.0.1",
                           .port = listening.port(),
                           .socket = events.handlers("client"),
                           .tls = clientTls()}));
  RawSocket peer = listening.accept();
  const bool resets = GENERATE(false, true);
  resets ? peer.reset() : peer.close();
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines() == Lines{"client connectError ECONNRESET"});
}

TEST_CASE("tls: close and terminate during the handshake end it at once", "[tls]") {
  const bool terminates = GENERATE(false, true);
  Recorder events;
  Reactor reactor;
  RawSocket listening = RawSocket::listenTcp();
  auto socket = reactor
                    .connect({.hostname = "127.0.0.1",
                              .port = listening.port(),
                              .socket = events.handlers("client"),
                              .tls = clientTls()})
                    .value();
  RawSocket peer = listening.accept();
  while (peer.readSome().empty()) reactor.step();  // the ClientHello is out
  terminates ? socket.terminate() : socket.close();
  REQUIRE(events.lines() == Lines{"client connectError ECANCELED"});
  REQUIRE(reactor.run() == 0);
  REQUIRE(reactor.stats().sockets == 0);
}

// --- the stream --------------------------------------------------------------------------------------

TEST_CASE("tls: a paused socket holds back plaintext that is already there", "[tls]") {
  Both both;
  both.bothOpen();
  both.server.pause();
  REQUIRE(both.client.send("one"));
  for (int turn = 0; turn < 20; ++turn) both.reactor.step();
  REQUIRE(both.events.of("server") == Lines{"open"});
  both.server.resume();
  both.until("server data one");
}

TEST_CASE("tls: pause in data keeps the records behind it, and resume replays them", "[tls]") {
  std::string received;
  int calls = 0;
  Both both([&](ListenOptions<>& listen, ConnectOptions<>&) {
    listen.socket.data = [&](Socket<> socket, Bytes bytes) {
      received += asText(bytes);
      ++calls;
      socket.pause();
    };
  });
  both.bothOpen();
  const std::string text(300'000, 'x');
  both.client.send(text);
  for (int turn = 0; turn < 50; ++turn) both.reactor.step();
  REQUIRE(calls == 1);
  runUntil(both.reactor, [&] {
    both.server.resume();
    return received.size() == text.size();
  });
  REQUIRE(received == text);
}

TEST_CASE("tls: write tells what was taken, and drain follows once there is room", "[tls]") {
  Both both([](ListenOptions<>&, ConnectOptions<>& connect) {
    connect.socket.open = [open = connect.socket.open](Socket<> socket) {
      open(socket);
      socket.pause();
    };
  });
  both.bothOpen();
  const std::string block(1 << 20, 'b');
  size_t total = 0;
  for (;;) {
    const std::ptrdiff_t taken = both.server.write(block);
    REQUIRE(taken >= 0);
    total += static_cast<size_t>(taken);
    if (static_cast<size_t>(taken) < block.size()) break;
  }
  REQUIRE(both.server.bytesWritten() == total);
  REQUIRE(both.server.unsentBytes() > 0);
  both.client.resume();
  both.until("server drain");
  REQUIRE(both.events.count("server drain") == 1);
  runUntil(both.reactor, [&] { return both.client.bytesRead() == total; });
  REQUIRE(both.server.unsentBytes() == 0);
}

TEST_CASE("tls: end sends what was accepted, and the answer still comes", "[tls]") {
  Both both([](ListenOptions<>& listen, ConnectOptions<>&) {
    listen.allowHalfOpen = true;
    listen.socket.end = [end = listen.socket.end](Socket<> socket) {
      end(socket);
      socket.end("the answer");
    };
  });
  both.bothOpen();
  REQUIRE(both.client.end("the question") == 12);
  both.until("client close");
  REQUIRE(both.events.of("client") == Lines{"open", "data the answer", "end", "close clean"});
  both.until("server close");
  REQUIRE(both.events.of("server") == Lines{"open", "data the question", "end", "close clean"});
}

TEST_CASE("tls: close fires inside the call, and what was accepted still arrives", "[tls]") {
  Both both;
  both.bothOpen();
  const std::string text(1 << 20, 'c');
  both.server.send(text);
  both.server.close();
  REQUIRE(both.events.has("server close clean"));
  both.until("client close");
  REQUIRE(both.client.bytesRead() == text.size());
  REQUIRE(both.events.has("client close clean"));
}

TEST_CASE("tls: bytes that are no record end the socket with an error", "[tls]") {
  Recorder events;
  Reactor reactor;
  // A client of our own in front of a relay that we can break into.
  RawSocket listening = RawSocket::listenTcp();
  auto listener = reactor
                      .listen<>({.hostname = "127.0.0.1",
                                 .port = 0,
                                 .socket = events.handlers("server"),
                                 .tls = serverTls()})
                      .value();
  auto client = reactor
                    .connect<>({.hostname = "127.0.0.1",
                                .port = listening.port(),
                                .socket = events.handlers("client"),
                                .tls = clientTls()})
                    .value();
  RawSocket near = listening.accept();
  RawSocket far = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  const auto relay = [&] {
    far.sendAll(near.readSome());
    near.sendAll(far.readSome());
  };
  runUntil(reactor, [&] {
    relay();
    return events.has("client open") && events.has("server open");
  });
  REQUIRE(client.send("fine"));
  runUntil(reactor, [&] {
    relay();
    return events.has("server data fine");
  });
  SECTION("garbage") {
    far.sendAll("this is no record at all, whatever it may be");
    runUntil(reactor, [&] { return events.has("server close"); });
    REQUIRE(events.error("server").origin() == Origin::tls);
  }
  SECTION("a bare FIN is a truncation") {
    far.shutdownWrite();
    runUntil(reactor, [&] { return events.has("server close"); });
    REQUIRE(events.has("server close TRUNCATED"));
    REQUIRE_FALSE(events.has("server end"));
  }
  SECTION("a reset is a reset") {
    far.reset();
    runUntil(reactor, [&] { return events.has("server close"); });
    REQUIRE(events.has("server close ECONNRESET"));
  }
  near.close();
}

// --- policy ------------------------------------------------------------------------------------------

TEST_CASE("tls: options that cannot be are refused by listen and connect", "[tls]") {
  Reactor reactor;
  const auto listening = [&](TlsOptions tls) {
    return reactor
        .listen<>({.hostname = "127.0.0.1",
                   .port = 0,
                   .socket = {.data = [](Socket<>, Bytes) {}},
                   .tls = std::move(tls)})
        .error();
  };
  REQUIRE(listening({}).message().find("key") != std::string::npos);
  REQUIRE(listening({.key = "garbage", .cert = "garbage"}));
  TlsOptions late = serverTls();
  late.handshakeTimeout = -1s;
  REQUIRE(listening(late).message().find("tls.handshakeTimeout") != std::string::npos);
  REQUIRE(reactor
              .connect<>({.hostname = "127.0.0.1",
                          .port = 1,
                          .socket = {.data = [](Socket<>, Bytes) {}},
                          .tls = TlsOptions{.ca = file("/no/such/file")}})
              .error()
              .message()
              .find("/no/such/file") != std::string::npos);
}

TEST_CASE("tls: reloadTls serves handshakes from then on, and live sockets go on", "[tls]") {
  Both both;
  both.bothOpen();
  const auto fingerprint = [](Socket<> socket) {
    return socket.tls().peerCertificates().at(0).fingerprint;
  };
  const std::string before = fingerprint(both.client);
  REQUIRE_FALSE(both.listener.reloadTls({.key = "garbage", .cert = "garbage"}));
  const test::Identity fresh =
      test::issue(test::testAuthority(), {.subject = "fresh", .names = {"IP:127.0.0.1"}});
  REQUIRE(both.listener.reloadTls({.key = fresh.key, .cert = fresh.cert}));
  auto second = both.reactor
                    .connect<>({.hostname = "127.0.0.1",
                                .port = both.listener.port(),
                                .socket = both.events.handlers("second"),
                                .tls = clientTls()})
                    .value();
  both.until("second open");
  REQUIRE(fingerprint(second) != before);
  REQUIRE(both.client.send("still here"));
  both.until("server data still here");
}

TEST_CASE("tls: a server name has options of its own, and loses them again", "[tls]") {
  Both both;
  const test::Identity named =
      test::issue(test::testAuthority(), {.subject = "named", .names = {"DNS:shop.example.com"}});
  REQUIRE(both.listener.addServerName("shop.example.com", {.key = named.key, .cert = named.cert}));
  REQUIRE_FALSE(both.listener.addServerName("bad.example.com", {}));
  const auto subject = [&](const std::string& name) {
    TlsOptions tls = clientTls();
    tls.serverName = "shop.example.com";
    Socket<> socket = both.reactor
                          .connect<>({.hostname = "127.0.0.1",
                                      .port = both.listener.port(),
                                      .socket = both.events.handlers(name),
                                      .tls = tls})
                          .value();
    both.until(name + " open");
    return socket.tls().peerCertificates().at(0).subject;
  };
  REQUIRE(subject("first") == "CN=named");
  REQUIRE(both.listener.removeServerName("shop.example.com"));
  REQUIRE_FALSE(both.listener.removeServerName("shop.example.com"));
  REQUIRE(subject("second") != "CN=named");
}

// --- upgrading ---------------------------------------------------------------------------------------

TEST_CASE("tls: a plain socket upgrades on both sides and is the same handle", "[tls]") {
  Both both([&](ListenOptions<>& listen, ConnectOptions<>& connect) {
    listen.tls = {};
    connect.tls = {};
  });
  both.bothOpen();
  SocketHandlers<> servers = both.events.handlers("server");
  noteHandshake(both.events, servers, "server");
  servers.data = [&](Socket<> socket, Bytes bytes) {
    both.events.data("server", bytes);
    if (asText(bytes) != "STARTTLS\n") return;
    REQUIRE(socket.write("GO\n") == 3);
    REQUIRE(socket.upgradeTls(serverTls()));
    REQUIRE(socket.upgradeTls(serverTls()).error().is(Usage::conflict));
  };
  REQUIRE(both.listener.reload(std::move(servers)));
  SocketHandlers<> clients = both.events.handlers("client");
  noteHandshake(both.events, clients, "client");
  clients.data = [&](Socket<> socket, Bytes bytes) {
    both.events.data("client", bytes);
    if (asText(bytes) == "GO\n") REQUIRE(socket.upgradeTls(clientTls()));
  };
  REQUIRE(both.client.reload(std::move(clients)));
  REQUIRE(both.client.send("STARTTLS\n"));
  both.until("client handshake ok");
  both.until("server handshake ok");
  REQUIRE(both.client.send("in secret"));
  both.until("server data in secret");
  REQUIRE(both.client.tls().authorized());
  REQUIRE(both.client.end() == 0);
  both.until("server close clean");
  both.until("client close clean");
}

TEST_CASE("tls: what comes behind the command to upgrade never reaches a handler", "[tls]") {
  const Leftover policy = GENERATE(Leftover::fail, Leftover::feed, Leftover::discard);
  std::string seen;
  Error refusal;
  Both both([&](ListenOptions<>& listen, ConnectOptions<>& connect) {
    listen.tls = {};
    connect.tls = {};
    listen.socket.data = [&](Socket<> socket, Bytes bytes) {
      const std::string_view text = asText(bytes);
      seen += text.substr(0, 9);
      const Result<void> upgraded = socket.upgradeTls(serverTls(), bytes.subspan(9), policy);
      if (!upgraded) refusal = upgraded.error();
    };
  });
  both.bothOpen();
  REQUIRE(both.client.send("STARTTLS\nEVIL BYTES"));
  if (policy == Leftover::feed) {
    both.until("server close");
    REQUIRE(both.events.error("server").origin() == Origin::tls);
  } else {
    runUntil(both.reactor, [&] { return !seen.empty(); });
    for (int turn = 0; turn < 10; ++turn) both.reactor.step();
  }
  REQUIRE(seen == "STARTTLS\n");
  REQUIRE(refusal.is(Usage::conflict) == (policy == Leftover::fail));
}

TEST_CASE("tls: an upgrade that fails closes with the reason", "[tls]") {
  Both both([&](ListenOptions<>& listen, ConnectOptions<>& connect) {
    listen.tls = {};
    connect.tls = {};
  });
  both.bothOpen();
  REQUIRE(both.server.upgradeTls(serverTls()));
  REQUIRE(both.client.upgradeTls({}));
  both.until("client close UNABLE_TO_VERIFY_LEAF_SIGNATURE");
  both.until("server close");
  REQUIRE(both.events.error("server").origin() == Origin::tls);
}

}  // namespace warren
