// Sockets whose handlers or peers do what they should not, around the handshake and after it.
#include <cerrno>
#include <functional>
#include <stdexcept>
#include <string>

#include "support/catch.h"
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

// A client that does not trust the server, with this for its `handshake`.
struct Distrustful : Both {
  explicit Distrustful(std::function<void(Socket<>)> onFailure)
      : Both([&](ListenOptions<>&, ConnectOptions<>& connect) {
          connect.tls = true;
          noteHandshake(events, connect.socket, "client");
          connect.socket.handshake = [note = connect.socket.handshake, onFailure](
                                         Socket<> socket, bool ok, const Error& error) {
            note(socket, ok, error);
            onFailure(socket);
          };
        }) {}
};

}  // namespace

// --- what options say --------------------------------------------------------------------------------

TEST_CASE("tls: a client without a name to verify is refused by connect", "[tls]") {
  Reactor reactor;
  ConnectOptions<> options;
  options.unix = "nowhere";
  options.socket.data = [](Socket<>, Bytes) {};
  options.tls = true;
  const Error error = reactor.connect(options).error();
  REQUIRE(error.is(Usage::missing));
  REQUIRE(error.message().find("tls.serverName") != std::string::npos);
  options.tls = TlsOptions{.rejectUnauthorized = false};
  REQUIRE(reactor.connect(options));
}

// --- what handlers do --------------------------------------------------------------------------------

TEST_CASE("tls: a handler that hears of a failed handshake can send nothing any more", "[tls]") {
  Distrustful both([](Socket<> socket) {
    REQUIRE(socket.write("secret") == -1);
    REQUIRE_FALSE(socket.send("secret"));
    REQUIRE(socket.end("secret") == -1);
    REQUIRE(socket.upgradeTls({}).error().is(Usage::conflict));
  });
  both.until("client close");
  REQUIRE(both.events.of("client") ==
          Lines{"open", "handshake failed UNABLE_TO_VERIFY_LEAF_SIGNATURE", "close clean"});
  both.until("server error");
  REQUIRE(both.server.bytesRead() == 0);
}

#if WARREN_LIBRARY_EXCEPTIONS
TEST_CASE("tls: a handshake handler that throws reaches error, and the socket goes on", "[tls]") {
  Both both([&](ListenOptions<>& listen, ConnectOptions<>&) {
    listen.socket.handshake = [](Socket<>, bool, const Error&) {
      throw std::runtime_error("planned");
    };
  });
  both.until("server error");
  REQUIRE(both.events.error("server").origin() == Origin::handler);
  both.until("client open");
  REQUIRE(both.client.send("question"));
  both.until("server data question");
  both.client.close();
  both.until("server close clean");
}

TEST_CASE("tls: a handler that throws about a failed handshake reaches error, then close",
          "[tls]") {
  Distrustful both([](Socket<>) { throw std::runtime_error("planned"); });
  both.until("client close");
  REQUIRE(both.events.of("client") == Lines{"open",
                                            "handshake failed UNABLE_TO_VERIFY_LEAF_SIGNATURE",
                                            "error exception", "close clean"});
}

TEST_CASE("tls: an error handler that throws about a failed handshake is not told of it again",
          "[tls]") {
  size_t told = 0;
  Both both([&](ListenOptions<>& listen, ConnectOptions<>&) {
    listen.socket.error = [&told](Socket<>, const Error&) {
      ++told;
      throw std::runtime_error("planned");
    };
  });
  RawSocket client = RawSocket::connectTcp(static_cast<uint16_t>(both.listener.port()));
  client.sendAll("no TLS at all");
  const auto forEver = [&] {
    for (;;) both.reactor.step();
  };
  REQUIRE_THROWS_WITH(forEver(), "planned");
  REQUIRE(told == 1);
}
#endif

TEST_CASE("tls: an end in open before the handshake is said after it, with all that was sent",
          "[tls]") {
  Both both([&](ListenOptions<>&, ConnectOptions<>& connect) {
    connect.socket.handshake = [](Socket<>, bool, const Error&) {};
    connect.socket.open = [](Socket<> socket) {
      REQUIRE(socket.send("every"));
      REQUIRE(socket.end("thing") == 5);
      REQUIRE(socket.readyState() == ReadyState::ended);
    };
  });
  both.until("server close");
  REQUIRE(both.events.of("server") == Lines{"open", "data everything", "end", "close clean"});
  both.until("client close clean");
}

TEST_CASE("tls: a close in open before the handshake is told at once, and to the other end",
          "[tls]") {
  Both both([&](ListenOptions<>&, ConnectOptions<>& connect) {
    connect.socket.handshake = [](Socket<>, bool, const Error&) { FAIL("it was closed"); };
    connect.socket.open = [](Socket<> socket) {
      socket.close();
      REQUIRE(socket.readyState() == ReadyState::closed);
    };
  });
  both.until("client close clean");
  both.until("server error ECONNRESET");
}

// --- what peers do -------------------------------------------------------------------------------------

// BoringSSL's queue of errors belongs to the thread, not to the session.
TEST_CASE("tls: bad handshakes beside a good socket do it no harm", "[tls]") {
  Both both;
  both.bothOpen();
  for (int round = 0; round < 20; ++round) {
    RawSocket bad = RawSocket::connectTcp(static_cast<uint16_t>(both.listener.port()));
    bad.sendAll(round % 2 == 0 ? "GET / HTTP/1.0\r\n\r\n" : "\x16\x03\x01\x7f\xff garbage");
    if (round % 2 != 0) bad.close();
    const uint64_t failures = both.reactor.stats().handshakeFailures;
    const std::string text = std::to_string(round) + ";";
    REQUIRE(both.client.send(text));
    runUntil(both.reactor, [&] { return both.reactor.stats().handshakeFailures > failures; });
  }
  REQUIRE(both.client.send("done"));
  runUntil(both.reactor, [&] { return both.server.bytesRead() == 10 * 2 + 10 * 3 + 4; });
  REQUIRE(both.server.readyState() == ReadyState::open);
  REQUIRE(both.reactor.stats().handshakeFailures == 20);
}

// The tickets that a server of TLS 1.3 sends are input that such a client never reads.
TEST_CASE("tls: a client that sends and closes loses nothing, nor does a server", "[tls]") {
  const bool clientSends = GENERATE(true, false);
  const std::string text(1 << 20, 't');
  Both both([&](ListenOptions<>& listen, ConnectOptions<>& connect) {
    auto& handlers = clientSends ? connect.socket : listen.socket;
    handlers.open = [open = handlers.open, &text](Socket<> socket) {
      open(socket);
      static_cast<void>(socket.send(text));
      socket.close();
    };
  });
  const std::string reader = clientSends ? "server" : "client";
  both.until(reader + " close clean");
  const Socket<> socket = clientSends ? both.server : both.client;
  REQUIRE(socket.bytesRead() == text.size());
}

}  // namespace warren
