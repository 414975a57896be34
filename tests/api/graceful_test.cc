// What reaches beyond one socket: drains, proxies, coroutines.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "os/fd.h"
#include "os/platform.h"
#include "support/catch.h"
#include "support/net.h"
#include "warren/coroutine.h"
#include "warren/warren.h"

namespace warren {
namespace {

using namespace std::chrono_literals;
using test::RawSocket;
using test::runUntil;

SocketHandlers<> answer() {
  return {.data = [](Socket<> socket, Bytes bytes) { socket.send(bytes); }};
}

Listener<> listenOn(Reactor& reactor, SocketHandlers<> handlers) {
  return reactor.listen<>({.hostname = "127.0.0.1", .port = 0, .socket = std::move(handlers)})
      .value();
}

RawSocket connectTo(const ListenerHandle& listener) {
  return RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
}

}  // namespace

// --- drain -----------------------------------------------------------------------------------------

TEST_CASE("a drain without sockets is done at once") {
  Reactor reactor;
  auto listener = listenOn(reactor, answer());
  std::optional<Drained> result;
  REQUIRE(listener.drain(1s, [&](const Drained& drained) { result = drained; }));
  REQUIRE_FALSE(listener.listening());
  reactor.run();
  REQUIRE(result);
  REQUIRE(result->finished == 0);
  REQUIRE(result->cut == 0);
  REQUIRE(listener.drain(1s).error().is(Usage::closed));
}

TEST_CASE("a drain ends quiet sockets and cuts those that do not finish by the deadline") {
  Reactor reactor;
  auto listener = listenOn(reactor, answer());
  RawSocket polite = connectTo(listener);
  RawSocket deaf = connectTo(listener);
  runUntil(reactor, [&] { return listener.connectionCount() == 2; });
  std::optional<Drained> result;
  bool hungUp = false;
  REQUIRE(reactor.drain(1s, [&](const Drained& drained) { result = drained; }));
  runUntil(reactor, [&] {
    if (!hungUp) polite.readSome();
    if (polite.ended() && !std::exchange(hungUp, true)) polite.close();
    return result.has_value();
  });
  REQUIRE(result->finished == 1);
  REQUIRE(result->cut == 1);
  REQUIRE(reactor.run() == 0);
  REQUIRE(reactor.stats().sockets == 0);
}

TEST_CASE("sockets dialed while a reactor drains are counted, and cut with the others") {
  RawSocket silent = RawSocket::listenTcp();
  Reactor reactor;
  const auto dial = [&] {
    return reactor.connect<>({.hostname = "127.0.0.1",
                              .port = silent.port(),
                              .socket = answer(),
                              .allowHalfOpen = true});
  };
  REQUIRE(dial());
  std::optional<Drained> result;
  REQUIRE(reactor.drain(60ms, [&](const Drained& drained) { result = drained; }));
  REQUIRE(dial());
  REQUIRE(dial());
  REQUIRE(reactor.run() == 0);
  REQUIRE(result);
  REQUIRE(result->finished == 0);
  REQUIRE(result->cut == 3);
}

TEST_CASE("a client that dials again in close does not keep a drain from its end") {
  RawSocket silent = RawSocket::listenTcp();
  Reactor reactor;
  Error refusal;
  std::function<void()> dial = [&] {
    SocketHandlers<> handlers = answer();
    handlers.close = [&](Socket<>, const Error&) { dial(); };
    handlers.connectError = [&](Socket<>, const Error&) { dial(); };
    auto socket = reactor.connect<>(
        {.hostname = "127.0.0.1", .port = silent.port(), .socket = std::move(handlers)});
    if (!socket) refusal = socket.error();
  };
  dial();
  std::optional<Drained> result;
  REQUIRE(reactor.drain(20ms, [&](const Drained& drained) { result = drained; }));
  REQUIRE(reactor.run() == 0);
  REQUIRE(result);
  REQUIRE(result->cut >= 1);
  REQUIRE(refusal.is(Usage::closed));
  dial();  // a reactor that has drained may begin anew
  REQUIRE(reactor.step());
}

TEST_CASE("a scope ends its socket and stops its listener, unless they are released") {
  Reactor reactor;
  auto listener = listenOn(reactor, answer());
  auto kept = listenOn(reactor, answer());
  const auto dial = [&] {
    return reactor.connect<>({.hostname = "127.0.0.1", .port = listener.port(), .socket = answer()})
        .value();
  };
  Socket<> ended = dial();
  Socket<> moved = dial();
  runUntil(reactor, [&] { return listener.connectionCount() == 2; });
  runUntil(reactor, [&] { return moved.readyState() == ReadyState::open; });
  {
    const Scoped scopedListener(listener);
    Scoped scoped(ended);
    Scoped other(moved);
    scoped = std::move(other);
    REQUIRE(scoped->readyState() == ReadyState::open);
    REQUIRE(scoped.release() == moved);
    REQUIRE(Scoped(kept).release() == kept);
  }
  REQUIRE_FALSE(listener.listening());
  REQUIRE(listener.connectionCount() == 0);
  REQUIRE(ended.readyState() != ReadyState::open);
  REQUIRE(moved.readyState() == ReadyState::open);
  REQUIRE(kept.listening());
}

TEST_CASE("a drain refuses a deadline that cannot be") {
  Reactor reactor;
  REQUIRE(reactor.drain(-1ms).error().message() ==
          "options: deadline is below zero or not a number");
}

// --- proxies ---------------------------------------------------------------------------------------

namespace {

struct Proxied {
  Proxied(ProxyProtocol proxies = {.trusted = {"127.0.0.0/8"}}) {
    listener =
        reactor
            .listen<>({.hostname = "127.0.0.1",
                       .port = 0,
                       .socket = {.open =
                                      [this](Socket<> socket) {
                                        remote = socket.remoteAddress().text();
                                        version = socket.proxyHeader()->version;
                                      },
                                  .data = [](Socket<> socket, Bytes bytes) { socket.send(bytes); }},
                       .proxyProtocol = std::move(proxies),
                       .acceptError = [this](const Error& error) { refusal = error; }})
            .value();
  }

  Reactor reactor;
  Listener<> listener;
  std::string remote;
  int version = 0;
  Error refusal;
};

}  // namespace

TEST_CASE("a header in pieces says who is there, and what follows is data") {
  Proxied proxied;
  RawSocket peer = connectTo(proxied.listener);
  const std::string header = "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n";
  for (const char byte : header.substr(0, 20)) {
    peer.sendAll(std::string(1, byte));
    proxied.reactor.step();
  }
  REQUIRE(proxied.remote.empty());
  peer.sendAll(header.substr(20) + "payload");
  std::string back;
  runUntil(proxied.reactor, [&] { return (back += peer.readSome()) == "payload"; });
  REQUIRE(proxied.remote == "192.0.2.1:1234");
  REQUIRE(proxied.version == 1);
}

TEST_CASE("warren's own header is understood, in both versions") {
  for (const int version : {1, 2}) {
    Proxied proxied;
    std::string back;
    ConnectOptions<> options;
    options.hostname = "127.0.0.1";
    options.port = proxied.listener.port();
    options.socket = {.open = [](Socket<> socket) { socket.send("hi"); },
                      .data = [&](Socket<>, Bytes bytes) { back += asText(bytes); }};
    options.proxyProtocol = ProxyHeader{.version = version,
                                        .source = Address::ipv4({198, 51, 100, 7}, 77),
                                        .destination = Address::ipv4({198, 51, 100, 8}, 88)};
    proxied.reactor.connect(std::move(options)).value();
    runUntil(proxied.reactor, [&] { return back == "hi"; });
    REQUIRE(proxied.remote == "198.51.100.7:77");
    REQUIRE(proxied.version == version);
  }
}

TEST_CASE("a client that speaks another protocol is reset, and acceptError says why") {
  Proxied proxied;
  RawSocket peer = connectTo(proxied.listener);
  peer.sendAll("GET / HTTP/1.0\r\n");
  runUntil(proxied.reactor, [&] { return static_cast<bool>(proxied.refusal); });
  REQUIRE(proxied.refusal.isErrno(EPROTO));
  REQUIRE(proxied.refusal.step() == Step::proxy);
  REQUIRE(proxied.remote.empty());
  REQUIRE(proxied.listener.stats().acceptFailures == 1);
  REQUIRE_THROWS_AS(peer.readAll(), std::system_error);
}

TEST_CASE("a peer that ends before its header, or is not trusted, is reset") {
  Proxied proxied;
  RawSocket early = connectTo(proxied.listener);
  early.shutdownWrite();
  runUntil(proxied.reactor, [&] { return static_cast<bool>(proxied.refusal); });
  REQUIRE(proxied.refusal.message().find("ended before") != std::string::npos);
  REQUIRE_THROWS_AS(early.readAll(), std::system_error);

  Proxied strict({.trusted = {"10.0.0.0/8"}});
  RawSocket peer = connectTo(strict.listener);
  runUntil(strict.reactor, [&] { return static_cast<bool>(strict.refusal); });
  REQUIRE(strict.refusal.message().find("is not trusted") != std::string::npos);
  REQUIRE_THROWS_AS(peer.readAll(), std::system_error);
  runUntil(strict.reactor, [&] { return strict.reactor.stats().sockets == 0; });
}

TEST_CASE("proxy options that cannot be are refused by name") {
  Reactor reactor;
  const auto refusal = [&](ProxyProtocol proxies) {
    return reactor
        .listen<>({.hostname = "127.0.0.1",
                   .port = 0,
                   .socket = answer(),
                   .proxyProtocol = std::move(proxies)})
        .error()
        .message();
  };
  REQUIRE(refusal({}) == "options: proxyProtocol.trusted is empty");
  REQUIRE(refusal({.trusted = {"10.0.0.0/40"}}) ==
          "options: proxyProtocol.trusted \"10.0.0.0/40\" is no network");
  REQUIRE(refusal({.trusted = {"::1"}, .maxHeader = 5}) ==
          "options: proxyProtocol.maxHeader 5 is outside 107..65551");
  ConnectOptions<> options;
  options.hostname = "127.0.0.1";
  options.port = 1;
  options.socket = answer();
  const auto sending = [&](const ProxyHeader& header) {
    ConnectOptions<> copy = options;
    copy.proxyProtocol = header;
    return reactor.connect(std::move(copy)).error().message();
  };
  REQUIRE(sending({.version = 1, .tlvs = {{1, "h2"}}}) ==
          "options: proxyProtocol.tlvs need version 2");
  REQUIRE(sending({.version = 2, .source = Address::unix()}) ==
          "options: proxyProtocol takes no unix addresses");
  const Address four = Address::ipv4({1, 2, 3, 4}, 5);
  REQUIRE(sending({.version = 2, .source = four, .destination = Address::ipv6({}, 1)}) ==
          "options: proxyProtocol.source and destination are of different families");
  options.proxyProtocol = ProxyHeader{.version = 3};
  REQUIRE(reactor.connect(std::move(options)).error().message() ==
          "options: proxyProtocol.version 3 is neither 1 nor 2");
}

TEST_CASE("a header to send is refused when its checksum makes it too long, or comes twice") {
  Reactor reactor;
  const auto dial = [&](std::vector<ProxyTlv> tlvs) {
    ConnectOptions<> options;
    options.hostname = "127.0.0.1";
    options.port = 1;
    options.socket = answer();
    const Address source = Address::ipv6({}, 1);
    options.proxyProtocol =
        ProxyHeader{.version = 2, .source = source, .destination = source, .tlvs = std::move(tlvs)};
    return reactor.connect(std::move(options));
  };
  constexpr size_t kRoom = 65535 - 36 - 2 * 3;  // for two values
  REQUIRE(dial({{3, ""}, {0xe0, std::string(kRoom - 3, 'x')}}).error().is(Usage::outOfRange));
  REQUIRE(dial({{3, ""}, {0xe0, std::string(kRoom - 4, 'x')}}));
  REQUIRE(dial({{3, ""}, {3, ""}}).error().is(Usage::invalid));
  reactor.run();
}

TEST_CASE("a proxied client of another family than the connection is no client without address") {
  Reactor reactor;
  const RawSocket server = RawSocket::listenTcp();
  Error why;
  ConnectOptions<> options;
  options.hostname = "127.0.0.1";
  options.port = server.port();
  options.socket = answer();
  options.socket.connectError = [&](Socket<>, const Error& error) { why = error; };
  options.proxyProtocol = ProxyHeader{.version = 2, .source = Address::ipv6({}, 1)};
  REQUIRE(reactor.connect(std::move(options)));
  reactor.run();
  REQUIRE(why.isErrno(EAFNOSUPPORT));
  REQUIRE(why.step() == Step::proxy);
}

// --- dead peers ------------------------------------------------------------------------------------

#if WARREN_LINUX
TEST_CASE("deadPeer gives up a peer that takes nothing any more") {
  Reactor reactor;
  std::optional<Socket<>> accepted;
  Error why;
  auto listener = listenOn(reactor, {.open = [&](Socket<> socket) { accepted = socket; },
                                     .data = [](Socket<>, Bytes) {},
                                     .close = [&](Socket<>, const Error& error) { why = error; }});
  const RawSocket peer = connectTo(listener);
  runUntil(reactor, [&] { return accepted.has_value(); });
  REQUIRE(accepted->deadPeer(200ms));
  const std::string block(1 << 20, 'x');
  while (accepted->write(block) == std::ssize(block)) continue;
  runUntil(reactor, [&] { return static_cast<bool>(why); });
  REQUIRE(why.isErrno(ETIMEDOUT));
}
#endif

#if WARREN_LINUX
TEST_CASE("bytes for a peer that takes none are not the kernel's for minutes after linger's end") {
  const RawSocket peer = RawSocket::listenTcp();  // never accepts
  const int fd = RawSocket::connectTcp(peer.port()).release();
  const os::Fd copy(::dup(fd));  // the socket closes its own
  Reactor reactor;
  ConnectOptions<> options{.fd = fd};
  options.linger.timeout = 1ms;
  Error why;
  options.socket.open = [](Socket<> socket) { socket.end("nobody reads this, and nobody ends"); };
  options.socket.data = [](Socket<>, Bytes) {};
  options.socket.close = [&](Socket<>, const Error& error) { why = error; };
  REQUIRE(reactor.connect(std::move(options)));
  reactor.run();
  REQUIRE(why.isErrno(ETIMEDOUT));
  int milliseconds = 0;
  socklen_t size = sizeof milliseconds;
  REQUIRE(::getsockopt(copy.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, &size) == 0);
  REQUIRE(milliseconds == 10'000);
}
#endif

TEST_CASE("deadPeer is set on tcp and refused where it cannot be") {
  Reactor reactor;
  std::optional<Socket<>> accepted;
  auto listener = listenOn(reactor, {.open = [&](Socket<> socket) { accepted = socket; },
                                     .data = [](Socket<>, Bytes) {}});
  RawSocket peer = connectTo(listener);
  runUntil(reactor, [&] { return accepted.has_value(); });
  REQUIRE(accepted->deadPeer(30s));
  REQUIRE(accepted->deadPeer(0s));
  REQUIRE_FALSE(accepted->deadPeer(-1s));
  REQUIRE_FALSE(accepted->deadPeer(24h));
  accepted->close();
  REQUIRE_FALSE(accepted->deadPeer(30s));
}

// --- coroutines ------------------------------------------------------------------------------------

namespace {

// The options have a name: GCC 12 destroys temporaries of a co_await expression twice.
ConnectOptions<> optionsFor(int port, std::string& heard) {
  ConnectOptions<> options;
  options.hostname = "127.0.0.1";
  options.port = port;
  options.socket = {.data = [&heard](Socket<> socket, Bytes bytes) {
    heard += asText(bytes);
    socket.end();
  }};
  return options;
}

Routine talk(Reactor& reactor, int port, std::string& heard, std::string& outcome) {
  ConnectOptions<> options = optionsFor(port, heard);
  Result<Socket<>> socket = co_await connectAsync(reactor, std::move(options));
  if (!socket) {
    outcome = socket.error().name();
    co_return;
  }
  co_await sleep(reactor, 2ms);
  socket->send("from a coroutine");
  outcome = "sent";
}

}  // namespace

TEST_CASE("a coroutine connects, sleeps and talks") {
  Reactor reactor;
  auto listener = listenOn(reactor, answer());
  listener.unref();
  std::string heard;
  std::string outcome;
  Routine routine = talk(reactor, listener.port(), heard, outcome);
  REQUIRE_FALSE(routine.done());
  routine.start();
  runUntil(reactor, [&] { return heard == "from a coroutine"; });
  REQUIRE(outcome == "sent");
  REQUIRE(routine.done());
}

TEST_CASE("a coroutine connects a socket whose Data cannot be moved") {
  struct Pinned {
    std::atomic<int> value = 7;
  };
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  int value = 0;
  const auto dial = [](Reactor& its, int port, int& found) -> Routine {
    ConnectOptions<Pinned> options;
    options.hostname = "127.0.0.1";
    options.port = port;
    options.socket.data = [](Socket<Pinned>, Bytes) {};
    Result<Socket<Pinned>> socket = co_await connectAsync(its, std::move(options));
    found = socket->data().value;
  };
  Routine routine = dial(reactor, listener.port(), value);
  routine.start();
  runUntil(reactor, [&] { return routine.done(); });
  REQUIRE(value == 7);
}

TEST_CASE("a coroutine hears why it could not connect, also of bad options") {
  Reactor reactor;
  std::string heard;
  std::string outcome;
  Routine refused = talk(reactor, test::deadPort(), heard, outcome);
  refused.start();
  runUntil(reactor, [&] { return refused.done(); });
  REQUIRE(outcome == "ECONNREFUSED");
  Routine wrong = talk(reactor, 70000, heard, outcome);
  wrong.start();
  REQUIRE(wrong.done());
  REQUIRE(outcome == "outOfRange");
}

TEST_CASE("a coroutine that sleeps goes on after its reactor was moved") {
  std::optional<Reactor> first(std::in_place);
  bool done = false;
  const auto napping = [](Reactor& its, bool& over) -> Routine {
    co_await sleep(its, 1ms);
    over = true;
  };
  Routine routine = napping(*first, done);
  routine.start();
  Reactor second(std::move(*first));
  first.reset();
  second.run();
  REQUIRE(done);
}

TEST_CASE("a coroutine that connects goes on after its reactor was moved") {
  std::optional<Reactor> first(std::in_place);
  RawSocket listener = RawSocket::listenTcp();
  std::string heard;
  bool connected = false;
  const auto dial = [](Reactor& its, ConnectOptions<> options, bool& done) -> Routine {
    Result<Socket<>> socket = co_await connectAsync(its, std::move(options));
    done = static_cast<bool>(socket);
  };
  Routine routine = dial(*first, optionsFor(listener.port(), heard), connected);
  routine.start();
  Reactor second(std::move(*first));
  first.reset();
  runUntil(second, [&] { return routine.done(); });
  REQUIRE(connected);
}

TEST_CASE("a coroutine that waits for a sleep that is over goes on") {
  Reactor reactor;
  bool done = false;
  const auto napping = [](Reactor& its, bool& over) -> Routine {
    Sleeping nap(its, 1ms);
    co_await sleep(its, 10ms);
    co_await nap;
    over = true;
  };
  Routine routine = napping(reactor, done);
  routine.start();
  reactor.run();
  REQUIRE(done);
}

TEST_CASE("destroying a coroutine cancels what it waits for") {
  Reactor reactor;
  auto listener = listenOn(reactor, answer());
  listener.unref();
  std::string heard;
  std::string outcome;
  {
    Routine routine = talk(reactor, listener.port(), heard, outcome);
    routine.start();
  }
  reactor.run();
  REQUIRE(outcome.empty());
  REQUIRE(reactor.stats().connectFailures == 1);
  {
    Routine routine = talk(reactor, listener.port(), heard, outcome);
    routine.start();
    runUntil(reactor, [&] { return reactor.stats().opened >= 2 && reactor.nextDeadline(); });
  }
  REQUIRE(outcome.empty());
}

}  // namespace warren
