// src/net/dialer.cc: from a name to a connected descriptor.
#include <cerrno>

#include "world.h"

namespace warren::sim {
namespace {

Address v4(uint8_t last, uint16_t port = 80) { return Address::ipv4({10, 0, 0, last}, port); }

Address v6(uint8_t last, uint16_t port = 80) {
  std::array<uint8_t, 16> ip{0x20, 0x01, 0x0d, 0xb8};
  ip[15] = last;
  return Address::ipv6(ip, port);
}

// A reactor whose resolver is the test: it answers with `addresses`, or keeps the question.
struct Dialing : World {
  Log log;
  std::vector<ResolveAnswer> questions;

  explicit Dialing(std::vector<Address> addresses = {}) : World(resolving(*this, addresses)) {}

  static ReactorOptions resolving(Dialing& self, const std::vector<Address>& addresses) {
    ReactorOptions options;
    options.resolve = [&self, addresses](const std::string&, ResolveAnswer answer) {
      if (addresses.empty()) {
        self.questions.push_back(std::move(answer));
      } else {
        answer(addresses);
      }
    };
    return options;
  }

  ConnectOptions<> options(std::string host = "example.test") {
    ConnectOptions<> made{.hostname = std::move(host), .port = 80};
    made.socket = keeping(log);
    return made;
  }

  Socket<> connect(ConnectOptions<> given) { return reactor.connect(std::move(given)).value(); }
  Socket<> connect() { return connect(options()); }
};

// --- one address ---------------------------------------------------------------------------------

TEST_CASE("connect opens, and no handler runs inside the call") {
  Dialing world;
  Server server = world.kernel.serve(v4(1));
  const Socket<> socket = world.connect(world.options("10.0.0.1"));
  REQUIRE(world.log.text() == "");
  REQUIRE(socket.readyState() == ReadyState::connecting);
  REQUIRE(world.kernel.dialed().size() == 1);  // it is under way, though
  world.settle();
  REQUIRE(world.log.text() == "open");
  REQUIRE(socket.readyState() == ReadyState::open);
  REQUIRE(socket.remoteAddress() == v4(1));
  Peer peer = server.accept().value();
  peer.send("hello");
  world.settle();
  REQUIRE(world.log.input == "hello");
}

TEST_CASE("no handler runs inside connect when the outcome is known at once either") {
  for (const int error : {0, ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL}) {
    Dialing world;
    Server server = world.kernel.serve(v4(1));
    world.kernel.plan(v4(1), {.atOnce = true, .error = error});
    world.reactor.defer([&] {
      world.connect(world.options("10.0.0.1"));
      CHECK(world.log.text() == "");
    });
    world.settle();
    const std::string failed = describe(Error(Origin::kernel, error, Step::connect));
    REQUIRE(world.log.text() == (error == 0 ? "open" : "connectError " + failed));
    world.log.lines.clear();
    server.close();
  }
}

TEST_CASE("a refused connect tells connectError once, and nothing follows") {
  Dialing world;
  const Socket<> socket = world.connect(world.options("10.0.0.1"));
  world.settle();
  REQUIRE(world.log.text() == "connectError ECONNREFUSED/connect");
  REQUIRE(socket.readyState() == ReadyState::closed);
  REQUIRE(world.reactor.stats().sockets == 0);
  REQUIRE(world.reactor.stats().connectFailures == 1);
  REQUIRE_FALSE(world.reactor.step());
}

TEST_CASE("an error that comes late is told with its number") {
  Dialing world;
  world.kernel.plan(v4(1), {.error = EHOSTUNREACH, .delay = 3s});
  world.connect(world.options("10.0.0.1"));
  const Nanoseconds took = world.timeUntil(world.log, "connectError EHOSTUNREACH/connect");
  REQUIRE(took == 3s);
}

TEST_CASE("connectTimeout counts from the call, the look-up included, and is never early") {
  for (const bool resolves : {false, true}) {
    Dialing world;
    world.kernel.plan(v4(1), {.blackHole = true});
    ConnectOptions<> options = resolves ? world.options("10.0.0.1") : world.options();
    options.connectTimeout = 5s;
    world.connect(std::move(options));
    const Nanoseconds took = world.timeUntil(world.log, "connectError ETIMEDOUT/connect");
    REQUIRE(took >= 5s);
    REQUIRE(took <= 5s + 1ms);
    world.settle();
    REQUIRE(world.reactor.stats().sockets == 0);
  }
}

TEST_CASE("without a connectTimeout a connect waits as long as the kernel does") {
  Dialing world;
  world.kernel.serve(v4(1));
  world.kernel.plan(v4(1), {.delay = 2h});
  ConnectOptions<> options = world.options("10.0.0.1");
  options.connectTimeout = 0ms;
  world.connect(std::move(options));
  REQUIRE(world.timeUntil(world.log, "open") == 2h);
}

TEST_CASE("connecting to oneself is refused") {
  Dialing world;
  world.kernel.plan(v4(1), {.self = true});
  world.connect(world.options("10.0.0.1"));
  world.settle();
  REQUIRE(world.log.text() == "connectError ECONNREFUSED/connect");
}

TEST_CASE("an event that comes before the connect is decided decides nothing") {
  Dialing world;
  world.kernel.serve(v4(1));
  world.kernel.plan(v4(1), {.delay = 1s});
  world.connect(world.options("10.0.0.1"));
  world.settle();
  world.kernel.writableTwice();
  world.settle();
  REQUIRE(world.log.text() == "");
  world.elapse(1s);
  REQUIRE(world.log.text() == "open");
}

TEST_CASE("what the server sent with the connect is not lost") {
  for (const bool fin : {false, true}) {
    Dialing world;
    Server server = world.kernel.serve(v4(1));
    world.connect(world.options("10.0.0.1"));
    bool spoken = false;
    world.kernel.onWait([&](std::vector<os::Event>&) {
      std::optional<Peer> peer = spoken ? std::nullopt : server.accept();
      if (!peer) return;
      spoken = true;
      peer->send("220 welcome");
      if (fin) peer->shutdownWrite();
    });
    world.settle();
    REQUIRE(world.log.input == "220 welcome");
    REQUIRE(world.log.text() == (fin ? "open, data, end, close clean" : "open, data"));
  }
}

TEST_CASE("sends before open go out after it, in order, and an early end waits for them") {
  Dialing world;
  Server server = world.kernel.serve(v4(1));
  const Socket<> socket = world.connect(world.options("10.0.0.1"));
  REQUIRE(socket.send("one "));
  REQUIRE(socket.write("refused") == 0);
  REQUIRE(socket.end("two") == 3);
  world.settle();
  Peer peer = server.accept().value();
  REQUIRE(peer.readAll() == "one two");
  REQUIRE(peer.ended());
  peer.close();
  world.settle();
  REQUIRE(world.log.text() == "open, end, close clean");
}

TEST_CASE("a write before open is refused, and drain follows open") {
  Dialing world;
  world.kernel.serve(v4(1));
  const Socket<> socket = world.connect(world.options("10.0.0.1"));
  REQUIRE(socket.write("too early") == 0);
  world.settle();
  REQUIRE(world.log.text() == "open, drain");
}

TEST_CASE("a peer that is silent after an end before open is cut by the linger limit") {
  Dialing world;
  world.kernel.serve(v4(1));
  const Socket<> socket = world.connect(world.options("10.0.0.1"));
  socket.end("bye");
  const Nanoseconds took = world.timeUntil(world.log, "close ETIMEDOUT/linger");
  REQUIRE(took >= 10s);
  REQUIRE(took <= 10s + 1ms);
}

TEST_CASE("pause before open holds back the first data") {
  Dialing world;
  Server server = world.kernel.serve(v4(1));
  const Socket<> socket = world.connect(world.options("10.0.0.1"));
  socket.pause();
  world.settle();
  server.accept()->send("held");
  world.settle();
  REQUIRE(world.log.text() == "open");
  socket.resume();
  world.settle();
  REQUIRE(world.log.input == "held");
}

TEST_CASE("a timeout set before open cuts a connect that takes too long") {
  Dialing world;
  world.kernel.plan(v4(1), {.blackHole = true});
  world.connect(world.options("10.0.0.1")).timeout(100ms).value();
  const Nanoseconds took = world.timeUntil(world.log, "connectError ETIMEDOUT/timeout");
  REQUIRE(took >= 100ms);
  REQUIRE(took <= 101ms);
}

// --- several addresses ---------------------------------------------------------------------------

TEST_CASE("the next address is tried at once when one is refused") {
  Dialing world({v4(1), v4(2), v4(3)});
  world.kernel.serve(v4(3));
  const uint64_t begin = world.kernel.now();
  world.connect();
  world.settle();
  REQUIRE(world.kernel.now() == begin);
  REQUIRE(world.kernel.dialed() == std::vector{v4(1), v4(2), v4(3)});
  REQUIRE(world.log.text() == "open");
}

TEST_CASE("the next address is tried at once when the kernel refuses inside the call") {
  Dialing world({v6(1), v4(1)});
  world.kernel.plan(v6(1), {.atOnce = true, .error = ENETUNREACH});
  world.kernel.serve(v4(1));
  world.connect();
  world.settle();
  REQUIRE(world.log.text() == "open");
  REQUIRE(world.log.socket.remoteAddress() == v4(1));
}

TEST_CASE("a silent address gets company after the stagger, and families take turns") {
  Dialing world({v6(1), v6(2), v4(1), v4(2)});
  for (const Address& address : {v6(1), v6(2), v4(1), v4(2)}) {
    world.kernel.plan(address, {.blackHole = true});
  }
  world.connect();
  world.settle();
  REQUIRE(world.kernel.dialed() == std::vector{v6(1)});
  world.elapse(249ms);
  REQUIRE(world.kernel.dialed() == std::vector{v6(1)});
  world.elapse(3ms);
  REQUIRE(world.kernel.dialed() == std::vector{v6(1), v4(1)});
  world.elapse(251ms);
  REQUIRE(world.kernel.dialed() == std::vector{v6(1), v4(1), v6(2)});
  world.elapse(251ms);
  REQUIRE(world.kernel.dialed() == std::vector{v6(1), v4(1), v6(2), v4(2)});
  for (const Address& address : {v6(1), v6(2), v4(1), v4(2)}) {
    REQUIRE(world.kernel.attempts(address) == 1);  // none was cut for another
  }
}

TEST_CASE("the first connection wins and the others are closed") {
  for (const uint8_t winner : {uint8_t{1}, uint8_t{2}, uint8_t{3}}) {
    Dialing world({v4(1), v4(2), v4(3)});
    Server server = world.kernel.serve(v4(winner));
    for (const uint8_t each : {uint8_t{1}, uint8_t{2}, uint8_t{3}}) {
      world.kernel.plan(v4(each), {.blackHole = each != winner, .delay = 1s});
    }
    const Socket<> socket = world.connect();
    world.elapse(3s);
    REQUIRE(world.log.text() == "open");
    REQUIRE(socket.remoteAddress() == v4(winner));
    for (const uint8_t each : {uint8_t{1}, uint8_t{2}, uint8_t{3}}) {
      REQUIRE(world.kernel.attempts(v4(each)) == 0);
    }
    Peer peer = server.accept().value();
    peer.send("for the winner");
    peer.shutdownWrite();
    world.settle();
    REQUIRE(world.log.input == "for the winner");
    REQUIRE(world.log.text() == "open, data, end, close clean");
  }
}

TEST_CASE("events of attempts that lost find nothing") {
  Dialing world({v4(1), v4(2)});
  Server server = world.kernel.serve(v4(2));
  std::vector<uint64_t> tokens;
  world.kernel.plan(v4(1), {.blackHole = true});
  world.connect();
  world.settle();
  world.elapse(251ms);
  REQUIRE(world.log.text() == "open");
  const uint64_t token = server.accept()->token();
  const uint64_t attempts = uint64_t{1} << 28;  // the part of a token
  for (uint64_t part = 1; part < 8; ++part) {
    world.kernel.tell(
        {.ready = os::kReadable | os::kWritable | os::kEnded, .token = token | part * attempts});
  }
  world.settle();
  REQUIRE(world.log.text() == "open");
  REQUIRE(static_cast<bool>(world.log.socket));
}

TEST_CASE("both winning in one batch opens once and closes the other") {
  Dialing world({v4(1), v4(2)});
  Server first = world.kernel.serve(v4(1));
  Server second = world.kernel.serve(v4(2));
  world.kernel.plan(v4(1), {.delay = 400ms});
  world.kernel.plan(v4(2), {.delay = 100ms});
  world.connect();
  world.elapse(300ms);
  REQUIRE(world.kernel.dialed().size() == 2);
  world.kernel.advance(200ms);
  world.settle();
  REQUIRE(world.log.text() == "open");
  Peer loser = first.accept().value();
  Peer winner = second.accept().value();
  REQUIRE(loser.ended());
  winner.send("hello");
  world.settle();
  REQUIRE(world.log.input == "hello");
}

TEST_CASE("all refused tells the last reason") {
  Dialing world({v4(1), v4(2)});
  world.kernel.plan(v4(2), {.error = EHOSTUNREACH});
  world.connect();
  world.settle();
  REQUIRE(world.log.text() == "connectError EHOSTUNREACH/connect");
}

TEST_CASE("more addresses than can be tried at a time are tried one after the other") {
  std::vector<Address> addresses;
  for (uint8_t each = 1; each <= 20; ++each) addresses.push_back(v4(each));
  Dialing world(addresses);
  for (const Address& address : addresses) {
    world.kernel.plan(address, {.error = ECONNREFUSED, .delay = 20s});
  }
  ConnectOptions<> options = world.options();
  options.connectTimeout = 10min;
  world.connect(std::move(options));
  world.elapse(2min);
  REQUIRE(world.kernel.dialed().size() == 20);
  REQUIRE(world.log.text() == "connectError ECONNREFUSED/connect");
}

TEST_CASE("localhost is tried on both loopbacks") {
  Dialing world;
  std::array<uint8_t, 16> one{};
  one[15] = 1;
  world.kernel.serve(Address::ipv6(one, 80));
  world.connect(world.options("localhost"));
  world.settle();
  REQUIRE(world.log.text() == "open");
  REQUIRE(world.log.socket.remoteAddress() == Address::ipv6(one, 80));
}

#if WARREN_THREADS
TEST_CASE("no thread for a look-up tells so, each time anew") {
  World world;  // with the system's resolver; a simulated kernel has no threads
  Log log;
  for (size_t asked = 1; asked <= 5; ++asked) {
    REQUIRE(
        world.reactor.connect<>({.hostname = "db.example", .port = 80, .socket = keeping(log)}));
    world.settle();
    REQUIRE(log.count("connectError EAGAIN/resolve") == asked);
  }
}
#endif

TEST_CASE("no descriptor for an attempt tells so") {
  Dialing world({v4(1), v4(2)});
  world.kernel.descriptorLimit(world.kernel.openDescriptors().size());
  world.connect();
  world.settle();
  REQUIRE(world.log.text() == "connectError EMFILE/connect");
}

// --- names ---------------------------------------------------------------------------------------

TEST_CASE("a resolver's error is told, and so is an empty answer") {
  Dialing world;
  world.connect();
  world.connect();
  world.settle();
  world.questions.at(0)(Error(Origin::resolver, -2, Step::resolve, "example.test"));
  world.questions.at(1)(std::vector<Address>{});
  world.settle();
  REQUIRE(world.log.lines.size() == 2);
  REQUIRE(world.log.lines[0].starts_with("connectError EAI_"));
  REQUIRE(world.log.lines[1] == "connectError invalid/resolve");
}

TEST_CASE("an answer that comes after its socket is gone finds nobody") {
  Dialing world;
  const Socket<> gone = world.connect();
  world.connect();
  world.settle();
  gone.close();
  world.settle();
  REQUIRE(world.log.text() == "connectError ECANCELED/connect");
  REQUIRE(world.questions.size() == 2);
  for (ResolveAnswer& answer : world.questions) answer(std::vector{v4(1)});
  world.settle();
  REQUIRE(world.kernel.dialed().size() == 1);
}

TEST_CASE("an answer that comes after the reactor is gone finds nobody") {
  Dialing world;
  world.connect();
  world.settle();
  world.shutDown();
  world.questions.at(0)(std::vector{v4(1)});
  REQUIRE(world.log.text() == "");
}

TEST_CASE("a resolver that answers twice opens once") {
  Dialing world;
  world.kernel.serve(v4(1));
  world.connect();
  world.settle();
  world.questions.at(0)(std::vector{v4(1)});
  world.settle();
  world.questions.at(0)(std::vector{v4(1)});
  world.settle();
  REQUIRE(world.log.text() == "open");
}

// --- giving up -----------------------------------------------------------------------------------

TEST_CASE("closing a connecting socket tells ECANCELED inside the call, at every step") {
  for (const bool terminate : {false, true}) {
    for (int step = 0; step < 4; ++step) {
      Dialing world;
      world.kernel.plan(v4(1), {.blackHole = true});
      const Socket<> socket = world.connect(world.options(step < 2 ? "example.test" : "10.0.0.1"));
      if (step == 1 || step == 3) world.settle();  // asked, or under way
      terminate ? socket.terminate() : socket.close();
      REQUIRE(world.log.text() == "connectError ECANCELED/connect");
      REQUIRE(socket.readyState() == ReadyState::closed);
      world.settle();
      for (ResolveAnswer& answer : world.questions) answer(std::vector{v4(1)});
      world.elapse(1min);
      REQUIRE(world.log.lines.size() == 1);
      REQUIRE(world.reactor.stats().sockets == 0);
      REQUIRE(world.reactor.stats().slots == 0);
      REQUIRE_FALSE(world.reactor.step());
    }
  }
}

TEST_CASE("closing in open closes, and nothing follows") {
  Dialing world;
  Server server = world.kernel.serve(v4(1));
  ConnectOptions<> options = world.options("10.0.0.1");
  options.socket.open = [&](SocketHandle socket) {
    world.log.note(socket, "open");
    socket.close();
  };
  world.connect(std::move(options));
  world.settle();
  REQUIRE(world.log.text() == "open, close clean");
  REQUIRE(server.accept()->ended());
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("connecting again from connectError does not grow the stack or spin in one turn") {
  Dialing world;
  int attempts = 0;
  std::function<void()> dial = [&] {
    ConnectOptions<> options = world.options("10.0.0.1");
    options.socket.connectError = [&](SocketHandle, const Error&) {
      if (++attempts < 1000) dial();
    };
    world.connect(std::move(options));
  };
  dial();
  world.reactor.step();
  REQUIRE(attempts <= 1);
  world.settle();
  REQUIRE(attempts == 1000);
}

TEST_CASE("destroying the reactor while connecting calls nobody and leaks nothing") {
  Dialing world({v4(1), v4(2)});
  world.kernel.plan(v4(1), {.blackHole = true});
  world.kernel.plan(v4(2), {.blackHole = true});
  world.connect();
  world.elapse(300ms);
  world.shutDown();
  REQUIRE(world.log.text() == "");
}

TEST_CASE("run goes on while something connects, unless it is unreferenced") {
  Dialing world;
  world.kernel.plan(v4(1), {.blackHole = true});
  ConnectOptions<> options = world.options("10.0.0.1");
  options.connectTimeout = 5s;
  const Socket<> socket = world.connect(std::move(options));
  socket.unref();
  const uint64_t begin = world.kernel.now();
  REQUIRE(world.reactor.run() == 0);
  REQUIRE(world.kernel.now() == begin);
  socket.ref();
  REQUIRE(world.reactor.run() == 0);
  REQUIRE(world.log.text() == "connectError ETIMEDOUT/connect");
}

// --- other endpoints -----------------------------------------------------------------------------

TEST_CASE("unix paths connect, or tell why not") {
  Dialing world;
  Server server = world.kernel.serveUnix("/run/db");
  ConnectOptions<> options;
  options.socket = keeping(world.log);
  options.unix = "/run/db";
  world.connect(options);
  world.settle();
  REQUIRE(world.log.text() == "open");
  REQUIRE(world.log.socket.remoteAddress().family() == Family::unix);
  server.accept()->close();
  world.settle();
  server.close();
  world.log.lines.clear();
  world.connect(options);
  options.unix = "/run/nobody";
  world.connect(options);
  world.settle();
  REQUIRE(world.log.text() == "connectError ECONNREFUSED/connect, connectError ENOENT/connect");
}

TEST_CASE("an adopted descriptor opens, and leaves the poller before it is closed") {
  Dialing world;
  auto [fd, peer] = world.kernel.connectedPair(Family::ipv4);
  peer.send("was there before");
  ConnectOptions<> options;
  options.socket = keeping(world.log);
  options.fd = fd;
  const Socket<> socket = world.connect(std::move(options));
  REQUIRE(world.log.text() == "");
  world.settle();
  REQUIRE(world.log.text() == "open, data");
  REQUIRE(world.log.input == "was there before");
  socket.terminate();
  world.settle();
  REQUIRE(world.kernel.calls(Call::remove) == 1);
}

TEST_CASE("descriptors that cannot be adopted tell why, and are closed: they were given to us") {
  Dialing world;
  const int file = world.kernel.plainFile();
  const int fresh = static_cast<int>(os::sys::socket(Family::ipv4));
  for (const auto& [fd, told] : {std::pair(file, "connectError ENOTSOCK/connect"),
                                 std::pair(fresh, "connectError ENOTCONN/connect")}) {
    ConnectOptions<> options;
    options.socket = keeping(world.log);
    options.fd = fd;
    world.connect(std::move(options));
    world.settle();
    REQUIRE(world.log.lines.back() == told);
  }
}

}  // namespace
}  // namespace warren::sim
