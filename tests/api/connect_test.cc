#include "warren/connect.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "os/platform.h"
#include "support/catch.h"
#include "support/net.h"
#include "support/recorder.h"
#include "warren/reactor.h"

namespace warren {
namespace {

using namespace std::chrono_literals;
using test::deadPort;
using test::Lines;
using test::RawSocket;
using test::Recorder;
using test::runUntil;

const Address kIpv4Loopback = Address::ipv4({127, 0, 0, 1}, 0);
const Address kIpv6Loopback = Address::ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 0);

// Turns until nothing keeps the reactor going, at most `turns` of them.
bool runsOut(Reactor& reactor, int turns = 500) {
  while (turns-- > 0) {
    if (!reactor.step(50ms)) return true;
  }
  return false;
}

// A resolver whose questions a test answers itself.
struct Questions {
  struct Question {
    std::string host;
    ResolveAnswer answer;
  };
  std::vector<Question> asked;

  Resolve resolve() {
    return [this](const std::string& host, ResolveAnswer answer) {
      asked.push_back({host, std::move(answer)});
    };
  }
};

// --- the ordinary way --------------------------------------------------------------------------------

TEST_CASE("a dialed socket opens in a later turn and both sides see their events in order") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  auto socket = reactor
                    .connect({.hostname = "127.0.0.1",
                              .port = listener.port(),
                              .socket = events.handlers("client")})
                    .value();
  REQUIRE(socket.readyState() == ReadyState::connecting);
  REQUIRE(events.lines().empty());

  runUntil(reactor, [&] { return events.has("client open") && events.has("server open"); });
  REQUIRE(socket.readyState() == ReadyState::open);
  REQUIRE(socket.send("hello"));
  runUntil(reactor, [&] { return events.has("server data"); });
  REQUIRE(socket.end("bye") == 3);
  runUntil(reactor, [&] { return events.has("server close") && events.has("client close"); });
  REQUIRE(events.of("server") == Lines{"open", "data hellobye", "end", "close clean"});
  REQUIRE(events.of("client") == Lines{"open", "end", "close clean"});
  REQUIRE(socket.readyState() == ReadyState::closed);
  REQUIRE_FALSE(socket);
}

TEST_CASE("what the peer sent before the socket opened is read without another event") {
  for (const bool andEnds : {false, true}) {
    INFO("the peer ends: " << andEnds);
    Recorder events;
    Reactor reactor;
    RawSocket listener = RawSocket::listenTcp();
    auto socket = reactor
                      .connect({.hostname = "127.0.0.1",
                                .port = listener.port(),
                                .socket = events.handlers("client")})
                      .value();
    reactor.step();  // starts connecting, which the kernel finishes by itself
    RawSocket peer = listener.accept();
    peer.sendAll("early");
    if (andEnds) peer.shutdownWrite();

    runUntil(reactor, [&] { return events.has(andEnds ? "client close" : "client data"); });
    REQUIRE(events.of("client") == (andEnds ? Lines{"open", "data early", "end", "close clean"}
                                            : Lines{"open", "data early"}));
    socket.close();
  }
}

TEST_CASE("one handler table serves both ends") {
  std::string seen;
  SocketHandlers<> table{
      .open = [](auto socket) { socket.send("hi"); },
      .data =
          [&](auto socket, Bytes bytes) {
            seen += asText(bytes);
            socket.end();
          },
  };
  Reactor reactor;
  auto listener = reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = table}).value();
  reactor.connect({.hostname = "127.0.0.1", .port = listener.port(), .socket = table}).value();
  runUntil(reactor, [&] { return seen.size() == 4; });
  REQUIRE(seen == "hihi");
  listener.stop();
  REQUIRE(runsOut(reactor));
}

TEST_CASE("a dialed socket starts with a copy of the option data") {
  struct Session {
    std::string name;
    std::vector<int> numbers;
  };
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  ConnectOptions<Session> options{.hostname = "127.0.0.1",
                                  .port = listener.port(),
                                  .socket = {.data = [](auto, Bytes) {}},
                                  .data = {"first", {1, 2}}};
  auto one = reactor.connect(options).value();
  auto two = reactor.connect(options).value();
  one.data().name = "changed";
  one.data().numbers.push_back(3);
  REQUIRE(two.data().name == "first");
  REQUIRE(two.data().numbers.size() == 2);
  REQUIRE(options.data.name == "first");
}

TEST_CASE("a dialed socket whose Data cannot be copied starts with a fresh one") {
  struct MoveOnly {
    std::unique_ptr<int> value = std::make_unique<int>(7);
  };
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  auto socket = reactor
                    .connect<MoveOnly>({.hostname = "127.0.0.1",
                                        .port = listener.port(),
                                        .socket = {.data = [](auto, Bytes) {}},
                                        .data = {}})
                    .value();
  REQUIRE(*socket.data().value == 7);
}

TEST_CASE("a dialed socket may have Data that cannot even be moved") {
  struct Pinned {
    std::mutex lock;
    int value = 7;
  };
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  auto socket = reactor
                    .connect<Pinned>({.hostname = "127.0.0.1",
                                      .port = listener.port(),
                                      .socket = {.data = [](auto, Bytes) {}}})
                    .value();
  REQUIRE(socket.data().value == 7);
  ConnectOptions<Pinned> named{
      .hostname = "127.0.0.1", .port = listener.port(), .socket = {.data = [](auto, Bytes) {}}};
  REQUIRE(reactor.connect(std::move(named)).value().data().value == 7);
}

TEST_CASE("a dialed socket knows both its ends, and has no listener") {
  for (const char* const host : {"127.0.0.1", "::1"}) {
    INFO(host);
    Recorder events;
    Reactor reactor;
    RawSocket listener = RawSocket::listenTcp(host);
    auto socket =
        reactor
            .connect(
                {.hostname = host, .port = listener.port(), .socket = events.handlers("client")})
            .value();
    REQUIRE(socket.remoteAddress().family() == Family::none);
    REQUIRE(socket.localAddress().family() == Family::none);
    runUntil(reactor, [&] { return events.has("client open"); });
    REQUIRE(socket.remoteAddress().host() == host);
    REQUIRE(socket.remoteAddress().port() == listener.port());
    REQUIRE(socket.localAddress().host() == host);
    REQUIRE(socket.localAddress().port() != 0);
    REQUIRE_FALSE(socket.listener().listening());
    REQUIRE(socket.listener() == Listener<>());
  }
}

// --- refusals ----------------------------------------------------------------------------------------

TEST_CASE("a refused connect is told to connectError, after the call, and to nothing else") {
  Recorder events;
  Reactor reactor;
  const int port = deadPort();
  auto socket =
      reactor.connect({.hostname = "127.0.0.1", .port = port, .socket = events.handlers("client")})
          .value();
  REQUIRE(events.lines().empty());
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines() == Lines{"client connectError ECONNREFUSED"});
  const Error error = events.error("client");
  REQUIRE(error.isErrno(ECONNREFUSED));
  REQUIRE(error.step() == Step::connect);
  REQUIRE(error.message().find("127.0.0.1:" + std::to_string(port)) != std::string::npos);
  REQUIRE(socket.readyState() == ReadyState::closed);
  REQUIRE(reactor.stats().connectFailures == 1);
  REQUIRE(reactor.stats().opened == 0);
}

TEST_CASE("without a connectError handler a refused connect just ends") {
  Reactor reactor;
  auto socket =
      reactor
          .connect(
              {.hostname = "127.0.0.1", .port = deadPort(), .socket = {.data = [](auto, Bytes) {}}})
          .value();
  REQUIRE(reactor.run() == 0);
  REQUIRE(socket.readyState() == ReadyState::closed);
}

TEST_CASE("data lives until connectError has returned") {
  Reactor reactor;
  std::string seen;
  auto socket =
      reactor
          .connect<std::string>(
              {.hostname = "127.0.0.1",
               .port = deadPort(),
               .socket = {.data = [](auto, Bytes) {},
                          .connectError = [&](auto mine, const Error&) { seen = mine.data(); }},
               .data = "mine"})
          .value();
  REQUIRE(reactor.run() == 0);
  REQUIRE(seen == "mine");
  REQUIRE(socket.findData() == nullptr);
}

TEST_CASE("a connect to port 0 is refused by the kernel, not by the options") {
  Recorder events;
  Reactor reactor;
  REQUIRE(
      reactor.connect({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("client")}));
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.count("client connectError") == 1);
  REQUIRE(events.error("client").origin() == Origin::kernel);
}

TEST_CASE("a name that does not exist is told to connectError by the system's resolver") {
  Recorder events;
  Reactor reactor;
  REQUIRE(reactor.connect(
      {.hostname = "no.such.host.invalid", .port = 1, .socket = events.handlers("client")}));
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines().size() == 1);
  REQUIRE(events.has("client connectError"));
  const Error error = events.error("client");
  REQUIRE(error.origin() == Origin::resolver);
  REQUIRE(error.step() == Step::resolve);
  REQUIRE(error.message().find("no.such.host.invalid") != std::string::npos);
}

// Only the system's resolver knows "127.1", and it asks nobody else.
TEST_CASE("the system's resolver answers one name after the other, however many") {
  RawSocket listener = RawSocket::listenTcp();
  Reactor reactor;
  for (int names = 0; names < 6; ++names) {
    INFO("names before: " << names);
    Recorder events;
    auto socket =
        reactor
            .connect(
                {.hostname = "127.1", .port = listener.port(), .socket = events.handlers("client")})
            .value();
    runUntil(reactor, [&] { return !events.lines().empty(); });
    REQUIRE(events.lines() == Lines{"client open"});
    socket.terminate();
    REQUIRE(runsOut(reactor));
  }
}

// Expects a refusal whose message has all of these words.
void refuses(const ConnectOptions<>& options, Usage code, const std::vector<std::string>& words) {
  Reactor reactor;
  const auto socket = reactor.connect(options);
  REQUIRE_FALSE(socket);
  const std::string message = socket.error().message();
  INFO(message);
  REQUIRE(socket.error().is(code));
  REQUIRE(socket.error().step() == Step::options);
  for (const std::string& word : words) REQUIRE_THAT(message, Catch::Matchers::Contains(word));
  REQUIRE(reactor.run() == 0);
}

TEST_CASE("connect refuses at once a place that is missing, half given or given twice") {
  const SocketHandlers<> table{.data = [](auto, Bytes) {}};
  refuses({.socket = table}, Usage::missing, {"hostname", "unix", "fd"});
  refuses({.hostname = "::1", .socket = table}, Usage::missing, {"port"});
  refuses({.hostname = "::1", .port = -1, .socket = table}, Usage::outOfRange, {"port", "-1"});
  refuses({.hostname = "::1", .port = 65536, .socket = table}, Usage::outOfRange,
          {"port", "65536"});
  refuses({.hostname = "::1", .port = 1, .unix = "x", .socket = table}, Usage::conflict,
          {"hostname", "unix"});
  refuses({.hostname = "::1", .port = 1, .fd = 0, .socket = table}, Usage::conflict,
          {"hostname", "fd"});
  refuses({.unix = "x", .fd = 0, .socket = table}, Usage::conflict, {"unix", "fd"});
  refuses({.port = 1, .unix = "x", .socket = table}, Usage::conflict, {"port", "hostname"});
  refuses({.port = 1, .fd = 0, .socket = table}, Usage::conflict, {"port", "hostname"});
  refuses({.fd = -1, .socket = table}, Usage::outOfRange, {"fd", "-1"});
  refuses({.hostname = std::string("a\0b", 3), .port = 1, .socket = table}, Usage::invalid,
          {"hostname", "NUL"});
}

TEST_CASE("connect refuses at once handlers, limits and times that mean nothing") {
  ConnectOptions<> options{.hostname = "::1", .port = 1, .socket = {.data = [](auto, Bytes) {}}};
  SECTION("no handler") {
    options.socket = {};
    refuses(options, Usage::missing, {"data", "drain"});
  }
  SECTION("no handler that could see or send a byte") {
    options.socket = {.open = [](auto) {}};
    refuses(options, Usage::missing, {"data", "drain"});
  }
  SECTION("a connectTimeout below zero") {
    options.connectTimeout = -1ms;
    refuses(options, Usage::outOfRange, {"connectTimeout", "below zero"});
  }
  SECTION("a connectTimeout that overflows") {
    options.connectTimeout = std::chrono::hours::max();
    refuses(options, Usage::outOfRange, {"connectTimeout", "100 years"});
  }
  SECTION("a high-water mark above the limit") {
    options.highWaterMark = 11;
    options.maxQueued = 10;
    refuses(options, Usage::outOfRange, {"highWaterMark", "11", "maxQueued", "10"});
  }
  SECTION("a linger time below zero") {
    options.linger.timeout = -1s;
    refuses(options, Usage::outOfRange, {"linger.timeout", "below zero"});
  }
}

// --- unix --------------------------------------------------------------------------------------------

TEST_CASE("a unix path connects and exchanges bytes") {
  test::TempDir dir;
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.unix = dir.path("s"), .socket = events.handlers("server")}).value();
  auto socket =
      reactor.connect({.unix = dir.path("s"), .socket = events.handlers("client")}).value();
  REQUIRE(events.lines().empty());
  socket.end("over unix");
  runUntil(reactor, [&] { return events.has("server close") && events.has("client close"); });
  REQUIRE(events.of("server") == Lines{"open", "data over unix", "end", "close clean"});
  REQUIRE(events.of("client") == Lines{"open", "end", "close clean"});
  listener.stop();
}

TEST_CASE("a unix path that cannot be reached is told to connectError, never inside the call") {
  test::TempDir dir;
  const std::string file = dir.path("file");
  { std::unique_ptr<FILE, int (*)(FILE*)> made(fopen(file.c_str(), "w"), fclose); }
  const struct {
    std::string path;
    int error;
  } cases[] = {
      {dir.path("missing"), ENOENT},
      {dir.path("no/directory"), ENOENT},
      {file, ECONNREFUSED},
      {"/" + std::string(107, 'x'), EINVAL},
      {std::string("a\0b", 3), EINVAL},
  };
  for (const auto& each : cases) {
    INFO(each.path);
    Recorder events;
    Reactor reactor;
    auto socket = reactor.connect({.unix = each.path, .socket = events.handlers("client")}).value();
    REQUIRE(events.lines().empty());
    REQUIRE(socket.readyState() == ReadyState::connecting);
    REQUIRE(reactor.run() == 0);
    REQUIRE(events.count("client ") == 1);
    REQUIRE(events.count("client connectError") == 1);
    INFO(events.error("client").message());
    REQUIRE(events.error("client").isErrno(each.error));
    REQUIRE(events.error("client").message().find("unix") != std::string::npos);
  }
}

TEST_CASE("an abstract unix name connects") {
  if (!WARREN_LINUX) return;
  const std::string name = std::string(1, '\0') + "warren-connect-test-" + std::to_string(getpid());
  Recorder events;
  Reactor reactor;
  auto listener = reactor.listen({.unix = name, .socket = events.handlers("server")}).value();
  auto socket = reactor.connect({.unix = name, .socket = events.handlers("client")}).value();
  socket.end("x");
  runUntil(reactor, [&] { return events.has("server close") && events.has("client close"); });
  REQUIRE(events.of("server") == Lines{"open", "data x", "end", "close clean"});

  listener.stop();
  reactor.connect({.unix = name, .socket = events.handlers("late")}).value();
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.of("late") == Lines{"connectError ECONNREFUSED"});
}

// --- adopted descriptors -----------------------------------------------------------------------------

TEST_CASE("a connected descriptor becomes the socket's") {
  const size_t descriptors = test::openDescriptors();
  {
    std::array<int, 2> ends{};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
    Recorder events;
    Reactor reactor;
    auto one = reactor.connect({.fd = ends[0], .socket = events.handlers("one")}).value();
    auto two = reactor.connect({.fd = ends[1], .socket = events.handlers("two")}).value();
    REQUIRE(one.send("1"));
    runUntil(reactor, [&] { return events.has("two data"); });
    REQUIRE(two.end("2") == 1);
    REQUIRE(reactor.run() == 0);
    REQUIRE(events.of("one") == Lines{"open", "data 2", "end", "close clean"});
    REQUIRE(events.of("two") == Lines{"open", "data 1", "end", "close clean"});
  }
  REQUIRE(test::openDescriptors() == descriptors);
}

TEST_CASE("an adopted descriptor that somebody else holds too is silent after the close") {
  std::array<int, 2> ends{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
  const int other = dup(ends[0]);
  Recorder events;
  Reactor reactor;
  auto socket = reactor.connect({.fd = ends[0], .socket = events.handlers("one")}).value();
  runUntil(reactor, [&] { return events.has("one open"); });
  socket.terminate();
  reactor.step();
  const uint64_t before = reactor.stats().events;
  REQUIRE(::write(ends[1], "x", 1) == 1);
  for (int turn = 0; turn < 5; ++turn) reactor.step();
  REQUIRE(reactor.stats().events == before);
  REQUIRE(events.of("one") == Lines{"open", "close clean"});
  ::close(other);
  ::close(ends[1]);
}

TEST_CASE("a descriptor that a socket or listener has already is refused, and stays theirs") {
  std::array<int, 2> ends{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
  Recorder events;
  Reactor reactor;
  const auto adopt = [&](int fd, const char* name) {
    return reactor.connect({.fd = fd, .socket = events.handlers(name)});
  };
  Socket<> one = adopt(ends[0], "one").value();
  REQUIRE(adopt(ends[0], "second").error().is(Usage::conflict));  // it is only given yet
  REQUIRE(adopt(ends[1], "two"));
  runUntil(reactor, [&] { return events.has("one open") && events.has("two open"); });
  REQUIRE(adopt(ends[0], "third").error().is(Usage::conflict));
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  REQUIRE(adopt(listener.descriptors().front(), "fourth").error().is(Usage::conflict));
  one.send("still there");
  runUntil(reactor, [&] { return events.has("two data still there"); });
}

#if WARREN_LINUX  // elsewhere the family is the kernel's own
TEST_CASE("a descriptor that is given back for its PROXY header is not watched any more") {
  std::array<int, 2> ends{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
  const int other = dup(ends[0]);
  Recorder events;
  Reactor reactor;
  ::shutdown(ends[0], SHUT_WR);
  REQUIRE(reactor.connect({.fd = ends[0],
                           .socket = events.handlers("one"),
                           .proxyProtocol = ProxyHeader{.version = 2, .local = true}}));
  runUntil(reactor, [&] { return events.has("one connectError EPIPE"); });
  REQUIRE(::write(ends[1], "x", 1) == 1);
  for (int turn = 0; turn < 5; ++turn) reactor.step(0ms);
  REQUIRE(reactor.stats().staleEvents == 0);
  ::close(other);
  ::close(ends[1]);
}
#endif

TEST_CASE("a descriptor that is no connected stream is told to connectError") {
  struct Garbage {
    const char* what;
    int (*make)();
  };
  const Garbage cases[] = {
      {"a pipe",
       [] {
         int ends[2];
         if (pipe(ends) != 0) return -1;
         ::close(ends[1]);
         return ends[0];
       }},
      {"a datagram socket", [] { return ::socket(AF_INET, SOCK_DGRAM, 0); }},
      {"a socket that is not connected", [] { return ::socket(AF_INET, SOCK_STREAM, 0); }},
      {"a listening socket",
       [] {
         const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
         return ::listen(fd, 1) == 0 ? fd : -1;
       }},
  };
  for (const Garbage& each : cases) {
    INFO(each.what);
    const size_t descriptors = test::openDescriptors();
    const int fd = each.make();
    REQUIRE(fd >= 0);
    Recorder events;
    {
      Reactor reactor;
      REQUIRE(reactor.connect({.fd = fd, .socket = events.handlers("client")}));
      REQUIRE(events.lines().empty());
      REQUIRE(reactor.run() == 0);
    }
    REQUIRE(events.lines().size() == 1);
    REQUIRE(events.count("client connectError") == 1);
    REQUIRE(events.error("client").message().find("fd " + std::to_string(fd)) != std::string::npos);
    REQUIRE(test::openDescriptors() == descriptors);  // it was the socket's, and went with it
  }
}

TEST_CASE("a descriptor that is not open is told to connectError") {
  const int fd = dup(0);
  REQUIRE(fd >= 0);
  ::close(fd);
  Recorder events;
  Reactor reactor;
  // The number may be taken anew meanwhile, so it is one that no test opens.
  REQUIRE(reactor.connect({.fd = fd + 5000, .socket = events.handlers("client")}));
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines() == Lines{"client connectError EBADF"});
}

// --- names -------------------------------------------------------------------------------------------

TEST_CASE("localhost reaches a listener on either loopback") {
  for (const char* const host : {"127.0.0.1", "::1"}) {
    INFO(host);
    Recorder events;
    Reactor reactor;
    RawSocket listener = RawSocket::listenTcp(host);
    auto socket = reactor
                      .connect({.hostname = "localhost",
                                .port = listener.port(),
                                .socket = events.handlers("client")})
                      .value();
    runUntil(reactor, [&] { return !events.lines().empty(); });
    REQUIRE(events.lines() == Lines{"client open"});
    REQUIRE(socket.remoteAddress().host() == host);
    RawSocket peer = listener.accept();
    peer.sendAll("hello");
    runUntil(reactor, [&] { return events.has("client data hello"); });
    REQUIRE(socket.send("and back"));
    reactor.step();
    REQUIRE(peer.readExactly(8) == "and back");
  }
}

TEST_CASE("localhost is refused when neither loopback listens") {
  Recorder events;
  Reactor reactor;
  REQUIRE(reactor.connect(
      {.hostname = "localhost", .port = deadPort(), .socket = events.handlers("client")}));
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines() == Lines{"client connectError ECONNREFUSED"});
}

TEST_CASE("a name is asked of the resolver given, once, and its addresses are tried in turn") {
  Questions questions;
  Recorder events;
  Reactor reactor({.resolve = questions.resolve()});
  RawSocket listener = RawSocket::listenTcp();
  auto socket = reactor
                    .connect({.hostname = "db.example",
                              .port = listener.port(),
                              .socket = events.handlers("client")})
                    .value();
  REQUIRE(questions.asked.empty());
  runUntil(reactor, [&] { return !questions.asked.empty(); });
  REQUIRE(questions.asked.size() == 1);
  REQUIRE(questions.asked[0].host == "db.example");
  // Ports of the answer are ignored; nobody listens on ::1 here.
  questions.asked[0].answer(std::vector{kIpv6Loopback.withPort(9), kIpv4Loopback.withPort(9)});
  runUntil(reactor, [&] { return !events.lines().empty(); });
  REQUIRE(events.lines() == Lines{"client open"});
  REQUIRE(socket.remoteAddress() == kIpv4Loopback.withPort(listener.port()));
}

TEST_CASE("what the resolver refuses is told to connectError as it is") {
  Questions questions;
  Recorder events;
  Reactor reactor({.resolve = questions.resolve()});
  REQUIRE(reactor.connect({.hostname = "bad", .port = 1, .socket = events.handlers("bad")}));
  REQUIRE(reactor.connect({.hostname = "empty", .port = 1, .socket = events.handlers("empty")}));
  runUntil(reactor, [&] { return questions.asked.size() == 2; });
  questions.asked[0].answer(Error(Origin::resolver, -2, Step::resolve, "bad"));
  questions.asked[1].answer(std::vector<Address>());
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.error("bad").origin() == Origin::resolver);
  REQUIRE(events.error("bad").code() == -2);
  REQUIRE(events.error("empty").is(Usage::invalid));
  REQUIRE(events.error("empty").message().find("empty has no address") != std::string::npos);
  REQUIRE(events.lines().size() == 2);
}

TEST_CASE("an answer inside the question is as good as a later one") {
  RawSocket listener = RawSocket::listenTcp();
  Recorder events;
  Reactor reactor({.resolve = [](const std::string&, ResolveAnswer answer) {
    answer(std::vector{kIpv4Loopback});
  }});
  auto socket =
      reactor
          .connect(
              {.hostname = "now", .port = listener.port(), .socket = events.handlers("client")})
          .value();
  runUntil(reactor, [&] { return !events.lines().empty(); });
  REQUIRE(events.lines() == Lines{"client open"});
  socket.close();
}

TEST_CASE("an answer with addresses that cannot be dialed is an empty one") {
  Recorder events;
  Reactor reactor({.resolve = [](const std::string&, ResolveAnswer answer) {
    answer(std::vector{Address::unix(), Address()});
  }});
  REQUIRE(reactor.connect({.hostname = "odd", .port = 1, .socket = events.handlers("client")}));
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines() == Lines{"client connectError invalid"});
}

#if WARREN_LIBRARY_EXCEPTIONS
TEST_CASE("a resolver that throws is told to connectError, and its exception leaves run") {
  Recorder events;
  Reactor reactor({.resolve = [](const std::string&, const ResolveAnswer&) {
    throw std::runtime_error("no name server");
  }});
  REQUIRE(reactor.connect({.hostname = "odd",
                           .port = 1,
                           .socket = events.handlers("client"),
                           .connectTimeout = Duration()}));
  REQUIRE_THROWS_WITH(reactor.run(), "no name server");
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines() == Lines{"client connectError invalid"});
  REQUIRE(events.error("client").message().find("odd") != std::string::npos);
}
#endif

#if WARREN_LINUX  // elsewhere the reset takes the data with it
TEST_CASE("what a server says before it resets is delivered, also when the reset comes first") {
  RawSocket listener = RawSocket::listenTcp();
  Recorder events;
  Reactor reactor;
  REQUIRE(reactor.connect(
      {.hostname = "127.0.0.1", .port = listener.port(), .socket = events.handlers("client")}));
  RawSocket server = listener.accept();
  server.sendAll("you are banned");
  server.reset();
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines() ==
          Lines{"client open", "client data you are banned", "client close ECONNRESET"});
}
#endif

#if WARREN_LINUX
TEST_CASE("what a server says before it ends and resets is delivered, when both come first") {
  const bool says = GENERATE(true, false);
  RawSocket listener = RawSocket::listenTcp();
  Recorder events;
  Reactor reactor;
  REQUIRE(reactor.connect(
      {.hostname = "127.0.0.1", .port = listener.port(), .socket = events.handlers("client")}));
  RawSocket server = listener.accept();
  if (says) server.sendAll("you are banned");
  server.shutdownWrite();
  server.reset();
  REQUIRE(reactor.run() == 0);
  const Lines lines = events.lines();
  REQUIRE(lines.front() == "client open");
  REQUIRE(events.has("client data you are banned") == says);
  REQUIRE(events.has("client end"));
  REQUIRE(lines.back().starts_with("client close"));
}
#endif

TEST_CASE("an answer that comes after the reactor is gone is dropped") {
  Questions questions;
  Recorder events;
  {
    Reactor reactor({.resolve = questions.resolve()});
    REQUIRE(reactor.connect({.hostname = "slow", .port = 1, .socket = events.handlers("client")}));
    runUntil(reactor, [&] { return !questions.asked.empty(); });
  }
  questions.asked[0].answer(std::vector{kIpv4Loopback});
  REQUIRE(events.lines().empty());
}

TEST_CASE("a resolver that never answers is cut by connectTimeout") {
  Questions questions;
  Recorder events;
  Reactor reactor({.resolve = questions.resolve()});
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(reactor.connect({.hostname = "never",
                           .port = 1,
                           .socket = events.handlers("client"),
                           .connectTimeout = 30ms}));
  REQUIRE(reactor.run() == 0);
  REQUIRE(std::chrono::steady_clock::now() - begin >= 30ms);
  REQUIRE(events.lines() == Lines{"client connectError ETIMEDOUT"});
  REQUIRE(events.error("client").step() == Step::connect);
  REQUIRE(events.error("client").message().find("never:1") != std::string::npos);

  questions.asked[0].answer(std::vector{kIpv4Loopback});  // too late
  reactor.step();
  REQUIRE(events.lines().size() == 1);
}

#if WARREN_LINUX

// An address that swallows every attempt: with its queue full, a Linux listener drops what comes.
class BlackHole {
 public:
  // `host` is a loopback address of its own; the port is that of somebody else.
  BlackHole(Address host, uint16_t port) : address(host.withPort(port)) {
    listening_ = RawSocket::listenTcp(host.host(), port, 0);
    waiting_ = RawSocket::connectTcp(port, host.host());
  }

  const Address address;

 private:
  RawSocket listening_;
  RawSocket waiting_;
};

TEST_CASE("an address that swallows everything costs one stagger, and the next one wins") {
  RawSocket listener = RawSocket::listenTcp();
  const BlackHole first(Address::ipv4({127, 0, 0, 2}, 0), listener.port());
  const BlackHole second(Address::ipv4({127, 0, 0, 3}, 0), listener.port());
  Recorder events;
  const size_t descriptors = test::openDescriptors();
  Reactor reactor({.resolve =
                       [&](const std::string&, ResolveAnswer answer) {
                         answer(std::vector{first.address, second.address, kIpv4Loopback});
                       },
                   .connectStagger = 20ms});
  const auto begin = std::chrono::steady_clock::now();
  auto socket = reactor
                    .connect({.hostname = "db.example",
                              .port = listener.port(),
                              .socket = events.handlers("client")})
                    .value();
  runUntil(reactor, [&] { return !events.lines().empty(); });
  REQUIRE(events.lines() == Lines{"client open"});
  REQUIRE(std::chrono::steady_clock::now() - begin >= 40ms);
  REQUIRE(socket.remoteAddress() == kIpv4Loopback.withPort(listener.port()));
  socket.terminate();
  reactor.run();
  REQUIRE(test::openDescriptors() <= descriptors + 4);  // the reactor's own; no attempt is left
}

TEST_CASE("when every address swallows everything, connectTimeout is the limit over all of them") {
  const uint16_t port = deadPort();
  const BlackHole first(Address::ipv4({127, 0, 0, 2}, 0), port);
  const BlackHole second(Address::ipv4({127, 0, 0, 3}, 0), port);
  Recorder events;
  Reactor reactor({.resolve =
                       [&](const std::string&, ResolveAnswer answer) {
                         answer(std::vector{first.address, second.address});
                       },
                   .connectStagger = 10ms});
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(reactor.connect({.hostname = "db.example",
                           .port = port,
                           .socket = events.handlers("client"),
                           .connectTimeout = 50ms}));
  REQUIRE(reactor.run() == 0);
  REQUIRE(std::chrono::steady_clock::now() - begin >= 50ms);
  REQUIRE(events.lines() == Lines{"client connectError ETIMEDOUT"});
}

#endif

TEST_CASE("timeout while connecting ends in connectError too") {
  Questions questions;
  Recorder events;
  Reactor reactor({.resolve = questions.resolve()});
  auto socket =
      reactor.connect({.hostname = "never", .port = 1, .socket = events.handlers("client")})
          .value();
  REQUIRE(socket.timeout(20ms));
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines() == Lines{"client connectError ETIMEDOUT"});
}

// --- verbs while connecting --------------------------------------------------------------------------

TEST_CASE("close at each step of connecting gives connectError inside the call and nothing more") {
  Questions questions;
  Recorder events;
  Reactor reactor({.resolve = questions.resolve()});
  RawSocket listener = RawSocket::listenTcp();
  const size_t descriptors = test::openDescriptors();
  const ConnectOptions<> options{
      .hostname = "name", .port = listener.port(), .socket = events.handlers("client")};
  const Lines cancelled{"client connectError ECANCELED"};

  SECTION("before the first turn") {
    auto socket = reactor.connect(options).value();
    socket.close();
    REQUIRE(events.lines() == cancelled);
    REQUIRE(socket.readyState() == ReadyState::closed);
  }
  SECTION("by terminate") {
    auto socket = reactor.connect(options).value();
    socket.terminate();
    REQUIRE(events.lines() == cancelled);
  }
  SECTION("while the name is looked up") {
    auto socket = reactor.connect(options).value();
    runUntil(reactor, [&] { return !questions.asked.empty(); });
    socket.close();
    REQUIRE(events.lines() == cancelled);
    questions.asked[0].answer(std::vector{kIpv4Loopback});
  }
  SECTION("after the answer, before its turn") {
    auto socket = reactor.connect(options).value();
    runUntil(reactor, [&] { return !questions.asked.empty(); });
    questions.asked[0].answer(std::vector{kIpv4Loopback});
    socket.close();
    REQUIRE(events.lines() == cancelled);
  }
  SECTION("while the kernel connects") {
    auto socket = reactor.connect(options).value();
    runUntil(reactor, [&] { return !questions.asked.empty(); });
    questions.asked[0].answer(std::vector{kIpv4Loopback});
    reactor.step();
    REQUIRE(socket.readyState() == ReadyState::connecting);
    socket.close();
    REQUIRE(events.lines() == cancelled);
  }
  SECTION("in connectError itself") {
    ConnectOptions<> own = options;
    own.socket.connectError = [&](auto socket, const Error& error) {
      events.note("client", "connectError", error);
      socket.close();
      socket.terminate();
      REQUIRE(socket.end("x") == -1);
    };
    auto socket = reactor.connect(own).value();
    socket.close();
    socket.close();
    REQUIRE(events.lines() == cancelled);
  }
  SECTION("in open, where it is an ordinary close") {
    ConnectOptions<> own = options;
    own.socket.open = [&](auto socket) {
      events.note("client", "open");
      socket.close();
    };
    REQUIRE(reactor.connect(own));
    runUntil(reactor, [&] { return !questions.asked.empty(); });
    questions.asked[0].answer(std::vector{kIpv4Loopback});
    runUntil(reactor, [&] { return events.has("client close"); });
    REQUIRE(events.lines() == Lines{"client open", "client close clean"});
  }
  const size_t lines = events.lines().size();
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines().size() == lines);
  REQUIRE(test::openDescriptors() == descriptors);
}

TEST_CASE("send while connecting goes out after open, in order") {
  Recorder events;
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  auto table = events.handlers("client");
  table.open = [](auto socket) { socket.send("3"); };
  auto socket =
      reactor.connect({.hostname = "127.0.0.1", .port = listener.port(), .socket = table}).value();
  REQUIRE(socket.send("1"));
  REQUIRE(socket.bytesWritten() == 1);
  REQUIRE(socket.unsentBytes() == 1);
  REQUIRE(socket.send("2"));
  RawSocket peer = listener.accept();
  runUntil(reactor, [&] { return socket.bytesWritten() == 3 && socket.unsentBytes() == 0; });
  REQUIRE(peer.readExactly(3) == "123");
}

TEST_CASE("write while connecting takes nothing, and drain follows open") {
  Recorder events;
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  auto socket = reactor
                    .connect({.hostname = "127.0.0.1",
                              .port = listener.port(),
                              .socket = events.handlers("client")})
                    .value();
  REQUIRE(socket.write("x") == 0);
  REQUIRE(socket.write("") == 0);
  runUntil(reactor, [&] { return events.has("client drain"); });
  for (int turn = 0; turn < 3; ++turn) reactor.step();
  REQUIRE(events.lines() == Lines{"client open", "client drain"});
  REQUIRE(socket.write("x") == 1);
  REQUIRE(listener.accept().readExactly(1) == "x");
}

TEST_CASE("without a refused write no drain follows open") {
  Recorder events;
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  REQUIRE(reactor.connect(
      {.hostname = "127.0.0.1", .port = listener.port(), .socket = events.handlers("client")}));
  runUntil(reactor, [&] { return events.has("client open"); });
  for (int turn = 0; turn < 3; ++turn) reactor.step();
  REQUIRE(events.lines() == Lines{"client open"});
}

TEST_CASE("end while connecting delivers its bytes after open, and then FIN") {
  Recorder events;
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  auto socket = reactor
                    .connect({.hostname = "127.0.0.1",
                              .port = listener.port(),
                              .socket = events.handlers("client")})
                    .value();
  REQUIRE(socket.end("all there is") == 12);
  REQUIRE(socket.readyState() == ReadyState::connecting);
  REQUIRE(socket.write("more") == -1);
  REQUIRE_FALSE(socket.send("more"));
  REQUIRE(socket.end("more") == -1);
  reactor.step();
  RawSocket peer = listener.accept();
  runUntil(reactor, [&] { return socket.readyState() == ReadyState::ended; });
  REQUIRE(peer.readAll() == "all there is");
  peer.close();
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines() == Lines{"client open", "client end", "client close clean"});
}

TEST_CASE("a socket paused while connecting opens and holds back data until resume") {
  Recorder events;
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  auto socket = reactor
                    .connect({.hostname = "127.0.0.1",
                              .port = listener.port(),
                              .socket = events.handlers("client")})
                    .value();
  socket.pause();
  reactor.step();
  RawSocket peer = listener.accept();
  peer.sendAll("held back");
  peer.shutdownWrite();
  runUntil(reactor, [&] { return events.has("client open"); });
  for (int turn = 0; turn < 5; ++turn) reactor.step();
  REQUIRE(events.lines() == Lines{"client open"});
  socket.resume();
  runUntil(reactor, [&] { return events.has("client close"); });
  REQUIRE(events.of("client") == Lines{"open", "data held back", "end", "close clean"});
}

TEST_CASE("a timeout set while connecting goes on after open") {
  Recorder events;
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  auto socket = reactor
                    .connect({.hostname = "127.0.0.1",
                              .port = listener.port(),
                              .socket = events.handlers("client")})
                    .value();
  REQUIRE(socket.timeout(50ms));
  RawSocket peer;
  reactor.step();
  peer = listener.accept();
  runUntil(reactor, [&] { return events.has("client close"); });
  REQUIRE(events.lines() == Lines{"client open", "client timeout", "client close ETIMEDOUT"});
}

TEST_CASE("facts and settings of a connecting socket are answered as documented") {
  Recorder events;
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  auto socket = reactor
                    .connect({.hostname = "127.0.0.1",
                              .port = listener.port(),
                              .socket = events.handlers("client")})
                    .value();
  REQUIRE_FALSE(socket.setNoDelay(true));
  REQUIRE_FALSE(socket.setKeepAlive(true, 10s));
  REQUIRE(socket.bytesRead() == 0);
  REQUIRE(socket.bytesWritten() == 0);
  REQUIRE(socket.number() != 0);
  REQUIRE(socket);
  socket.resume();
  socket.flush();
  { const Cork cork = socket.cork(); }
  REQUIRE(events.lines().empty());
}

TEST_CASE("reload while connecting decides who hears of open") {
  Recorder events;
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  auto socket =
      reactor
          .connect(
              {.hostname = "127.0.0.1", .port = listener.port(), .socket = events.handlers("old")})
          .value();
  REQUIRE(socket.reload(events.handlers("new")));
  runUntil(reactor, [&] { return !events.lines().empty(); });
  REQUIRE(events.lines() == Lines{"new open"});
}

TEST_CASE("an unreferenced connecting socket does not keep run going") {
  Questions questions;
  Recorder events;
  Reactor reactor({.resolve = questions.resolve()});
  auto socket =
      reactor.connect({.hostname = "never", .port = 1, .socket = events.handlers("client")})
          .value();
  socket.unref();
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines().empty());
  socket.ref();
  socket.close();
  REQUIRE(events.lines() == Lines{"client connectError ECANCELED"});
}

TEST_CASE("a hundred sockets dialed at once all open") {
  Reactor reactor;
  int opened = 0;
  int accepted = 0;
  int closed = 0;
  auto listener =
      reactor
          .listen({.hostname = "127.0.0.1",
                   .port = 0,
                   .socket = {.open = [&](auto) { ++accepted; }, .data = [](auto, Bytes) {}}})
          .value();
  for (int i = 0; i < 100; ++i) {
    REQUIRE(reactor.connect({.hostname = "127.0.0.1",
                             .port = listener.port(),
                             .socket = {.open =
                                            [&](auto socket) {
                                              ++opened;
                                              socket.end();
                                            },
                                        .data = [](auto, Bytes) {},
                                        .close = [&](auto, const Error&) { ++closed; }}}));
  }
  runUntil(reactor, [&] { return closed == 100; });
  REQUIRE(opened == 100);
  REQUIRE(accepted == 100);
  listener.stop();
  REQUIRE(reactor.run() == 0);
}

}  // namespace
}  // namespace warren
