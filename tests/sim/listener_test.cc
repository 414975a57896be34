// src/net/listener.cc: bound descriptors and the acceptor behind them.
#include <array>
#include <cerrno>

#include "world.h"

namespace warren::sim {
namespace {

ListenOptions<> serving(Log& log) {
  ListenOptions<> options{.hostname = "127.0.0.1", .port = 80};
  options.socket = keeping(log);
  return options;
}

std::vector<Peer> connectMany(Kernel& kernel, size_t count) {
  std::vector<Peer> peers;
  for (size_t i = 0; i < count; ++i) peers.push_back(kernel.connect(80));
  return peers;
}

// --- accepting -----------------------------------------------------------------------------------

TEST_CASE("one turn accepts no more than acceptBudget; the rest follows without a wait") {
  ReactorOptions reactorOptions;
  reactorOptions.acceptBudget = 10;
  World world(std::move(reactorOptions));
  Log log;
  world.reactor.listen(serving(log)).value();
  const auto peers = connectMany(world.kernel, 25);
  world.reactor.step();
  REQUIRE(log.count("open") == 10);
  world.reactor.step(1h);
  REQUIRE(log.count("open") == 20);
  world.reactor.step(1h);
  REQUIRE(log.count("open") == 25);
}

TEST_CASE("a flood of connects does not starve the sockets there are") {
  ReactorOptions reactorOptions;
  reactorOptions.acceptBudget = 10;
  World world(std::move(reactorOptions));
  Log log;
  world.reactor.listen(serving(log)).value();
  Peer first = world.kernel.connect(80);
  world.settle();
  const auto flood = connectMany(world.kernel, 500);
  first.send("ping");
  world.reactor.step();
  REQUIRE(log.input == "ping");
}

TEST_CASE("accepting costs no call that finds nothing as long as the budget lasts") {
  ReactorOptions reactorOptions;
  reactorOptions.acceptBudget = 1;
  World world(std::move(reactorOptions));
  Log log;
  world.reactor.listen(serving(log)).value();
  const auto peers = connectMany(world.kernel, 5);
  world.settle();
  REQUIRE(log.count("open") == 5);
  REQUIRE(world.kernel.calls(Call::accept) == 5);
}

TEST_CASE("a connection that comes, says something and goes costs six calls, and one a batch") {
  World world;
  Log log;
  ListenOptions<> options = serving(log);
  options.socket.data = [](SocketHandle socket, Bytes bytes) {
    REQUIRE(socket.write(bytes) == 64);
  };
  world.reactor.listen(std::move(options)).value();
  std::array<uint64_t, static_cast<size_t>(Call::end)> before{};
  const auto since = [&](Call call) {
    return world.kernel.calls(call) - before[static_cast<size_t>(call)];
  };
  for (size_t call = 0; call < before.size(); ++call) {
    before[call] = world.kernel.calls(static_cast<Call>(call));
  }
  auto peers = connectMany(world.kernel, 8);
  for (Peer& peer : peers) peer.send(pattern(64));
  world.settle();
  for (Peer& peer : peers) REQUIRE(peer.readAll() == pattern(64));
  for (Peer& peer : peers) peer.shutdownWrite();
  world.settle();
  REQUIRE(log.count("close clean") == 8);
  REQUIRE(since(Call::accept) == 8 + 1);  // the last one finds nothing
  REQUIRE(since(Call::add) == 8);
  REQUIRE(since(Call::recv) == 16);  // the message, the end
  REQUIRE(since(Call::send) == 8);
  REQUIRE(since(Call::close) == 8);
  for (const Call never : {Call::peek, Call::sendSegments, Call::shutdown, Call::reset,
                           Call::retoken, Call::remove, Call::spare}) {
    REQUIRE(since(never) == 0);
  }
}

TEST_CASE("maxConnections leaves the rest in the queue, and takes one for each that closes") {
  World world;
  Log log;
  ListenOptions<> options = serving(log);
  options.maxConnections = 2;
  Listener<> listener = world.reactor.listen(std::move(options)).value();
  auto peers = connectMany(world.kernel, 5);
  world.settle();
  REQUIRE(listener.connectionCount() == 2);
  const uint64_t waits = world.kernel.calls(Call::wait);
  world.elapse(1min);
  REQUIRE(world.kernel.calls(Call::wait) - waits < 5);  // the full queue does not keep it awake
  for (size_t gone = 0; gone < 5; ++gone) {
    REQUIRE(log.count("open") == std::min<size_t>(5, gone + 2));
    peers[gone].close();
    world.settle();
  }
  REQUIRE(listener.connectionCount() == 0);
  connectMany(world.kernel, 1);
  world.settle();
  REQUIRE(listener.connectionCount() == 1);
}

TEST_CASE(
    "a client that maxConnections keeps out is served when its turn comes, and never beside") {
  World world;
  std::vector<uint16_t> served;
  size_t most = 0;
  Log log;
  Listener<> listener;
  ListenOptions<> options = serving(log);
  options.maxConnections = 2;
  options.socket.open = [&](SocketHandle socket) {
    served.push_back(socket.remoteAddress().port());
    most = std::max(most, listener.connectionCount());
  };
  listener = world.reactor.listen(std::move(options)).value();
  auto peers = connectMany(world.kernel, 4);
  std::vector<uint16_t> order;
  for (const Peer& peer : peers) order.push_back(peer.address().port());
  peers[2].send("said while it waited");
  world.settle();
  REQUIRE(served.size() == 2);
  REQUIRE(log.input.empty());
  peers[1].close();  // the younger of them
  world.settle();
  REQUIRE(served.size() == 3);
  REQUIRE(log.input == "said while it waited");
  peers[0].reset();
  peers[2].close();
  world.settle();
  REQUIRE(served == order);
  REQUIRE(most == 2);
  REQUIRE(listener.connectionCount() == 1);
}

TEST_CASE("maxConnections of one serves one after the other") {
  World world;
  Log log;
  ListenOptions<> options = serving(log);
  options.maxConnections = 1;
  Listener<> listener = world.reactor.listen(std::move(options)).value();
  auto peers = connectMany(world.kernel, 3);
  for (Peer& peer : peers) {
    world.settle();
    REQUIRE(listener.connectionCount() == 1);
    peer.send("x");
    world.settle();
    peer.reset();
    world.settle();
  }
  REQUIRE(log.input == "xxx");
}

TEST_CASE("a connection that dies in the queue is no reason to stop accepting") {
  for (const int error : {ECONNABORTED, EPROTO, ENETDOWN, EHOSTUNREACH, EPERM, ETIMEDOUT}) {
    World world;
    Log log;
    int reports = 0;
    ListenOptions<> options = serving(log);
    options.acceptError = [&](const Error&) { ++reports; };
    world.reactor.listen(std::move(options)).value();
    world.kernel.fail(Call::accept, error);
    world.kernel.fail(Call::accept, error);
    const auto peers = connectMany(world.kernel, 3);
    world.reactor.step();
    REQUIRE(log.count("open") == 3);
    REQUIRE(reports == 0);
    REQUIRE(world.reactor.stats().acceptFailures == 2);
  }
}

TEST_CASE("a connection reset in the queue opens and closes with the reset") {
  World world;
  Log log;
  world.reactor.listen(serving(log)).value();
  world.kernel.connect(80).reset();
  world.settle();
  REQUIRE(log.text() == "open, close ECONNRESET/read");
}

TEST_CASE("data and FIN that come with the connection are seen in the next turn") {
  World world;
  Log log;
  world.reactor.listen(serving(log)).value();
  Peer peer = world.kernel.connect(80);
  peer.send("hello");
  peer.shutdownWrite();
  world.reactor.step();
  world.reactor.step();
  REQUIRE(log.text() == "open, data, end, close clean");
}

// --- out of descriptors --------------------------------------------------------------------------

struct Starving : World {
  Log log;
  std::vector<std::string> reports;
  Listener<> listener;

  // Room for `spareRoom` more descriptors once it listens.
  explicit Starving(size_t spareRoom) {
    ListenOptions<> options = serving(log);
    options.acceptError = [this](const Error& error) { reports.push_back(describe(error)); };
    listener = reactor.listen(std::move(options)).value();
    settle();
    kernel.descriptorLimit(kernel.openDescriptors().size() + spareRoom);
  }
};

TEST_CASE("out of descriptors: one client is turned away, one report, and no spin") {
  const int error = GENERATE(EMFILE, ENFILE);  // the process has no more, the whole system has none
  Starving world(2);
  for (int served = 0; served < 2; ++served) world.kernel.inject(Call::accept, {});
  world.kernel.fail(Call::accept, error);
  auto peers = connectMany(world.kernel, 5);
  world.settle();
  REQUIRE(world.listener.connectionCount() == 2);
  REQUIRE(world.reports == std::vector{describe(Error(Origin::kernel, error, Step::accept))});
  REQUIRE(peers[2].ended());  // turned away, not left hanging
  REQUIRE_FALSE(peers[3].ended());
  const uint64_t accepts = world.kernel.calls(Call::accept);
  const uint64_t waits = world.kernel.calls(Call::wait);
  world.elapse(99ms);
  REQUIRE(world.kernel.calls(Call::accept) == accepts);
  REQUIRE(world.kernel.calls(Call::wait) - waits < 10);
}

TEST_CASE("out of descriptors: accepting is tried again after 100 ms") {
  Starving world(1);
  auto peers = connectMany(world.kernel, 5);
  world.settle();
  const uint64_t accepts = world.kernel.calls(Call::accept);
  world.elapse(98ms);
  REQUIRE(world.kernel.calls(Call::accept) == accepts);
  world.elapse(4ms);
  REQUIRE(world.kernel.calls(Call::accept) > accepts);
  REQUIRE(world.reports.size() == 1);  // the same trouble
  world.kernel.descriptorLimit(100);
  world.elapse(200ms);
  REQUIRE(world.listener.connectionCount() == 3);  // two were turned away meanwhile
}

TEST_CASE("out of descriptors: whoever lost its spare to another turns clients away again later") {
  Starving world(1);
  world.kernel.fail(Call::spare, EMFILE);  // somebody was faster
  auto first = connectMany(world.kernel, 3);
  world.settle();
  REQUIRE(first[1].ended());
  REQUIRE_FALSE(first[2].ended());
  first[0].close();  // one descriptor: for the spare or for the one that waits
  world.elapse(300ms);
  auto second = connectMany(world.kernel, 3);
  world.elapse(300ms);
  REQUIRE((second[1].ended() && second[2].ended()));
}

TEST_CASE("out of descriptors: a socket that closes is a descriptor to accept with, at once") {
  Starving world(1);
  auto peers = connectMany(world.kernel, 3);
  world.settle();
  REQUIRE(world.listener.connectionCount() == 1);
  peers[0].close();
  const uint64_t before = world.kernel.now();
  world.settle();
  REQUIRE(world.kernel.now() == before);
  REQUIRE(world.log.count("open") == 2);
  peers[2].send("served");
  world.settle();
  REQUIRE(world.log.input == "served");
}

TEST_CASE("out of descriptors twice: each time is reported once") {
  Starving world(1);
  auto peers = connectMany(world.kernel, 3);
  world.elapse(1s);  // one is served, two were turned away
  REQUIRE(world.reports.size() == 1);
  peers[0].close();
  world.settle();
  auto more = connectMany(world.kernel, 2);
  world.elapse(1s);
  REQUIRE(world.log.count("open") == 2);
  REQUIRE(world.reports.size() == 2);
}

TEST_CASE("no memory for a descriptor pauses and goes on by itself") {
  World world;
  Log log;
  std::vector<std::string> reports;
  ListenOptions<> options = serving(log);
  options.acceptError = [&](const Error& error) { reports.push_back(describe(error)); };
  world.reactor.listen(std::move(options)).value();
  world.kernel.fail(Call::accept, ENOBUFS);
  const auto peers = connectMany(world.kernel, 2);
  world.settle();
  REQUIRE(log.count("open") == 0);
  REQUIRE(reports == std::vector<std::string>{"ENOBUFS/accept"});
  world.elapse(102ms);
  REQUIRE(log.count("open") == 2);
}

TEST_CASE("a socket that cannot be watched is given up and reported, the next one is served") {
  World world;
  Log log;
  std::vector<std::string> reports;
  ListenOptions<> options = serving(log);
  options.acceptError = [&](const Error& error) { reports.push_back(describe(error)); };
  world.reactor.listen(std::move(options)).value();
  world.kernel.fail(Call::add, ENOSPC);
  auto peers = connectMany(world.kernel, 2);
  world.settle();
  REQUIRE(log.text() == "open");
  REQUIRE(reports == std::vector<std::string>{"ENOSPC/socket"});
  REQUIRE(peers[0].ended());
  REQUIRE(world.reactor.stats().sockets == 1);
}

// --- stop ----------------------------------------------------------------------------------------

TEST_CASE("stop refuses new connects, resets queued ones and leaves accepted ones") {
  World world;
  Log log;
  Listener<> listener = world.reactor.listen(serving(log)).value();
  Peer accepted = world.kernel.connect(80);
  world.settle();
  Peer queued = world.kernel.connect(80);
  listener.stop();
  REQUIRE_FALSE(listener.listening());
  REQUIRE(queued.wasReset());
  REQUIRE_THROWS(world.kernel.connect(80));
  accepted.send("still here");
  world.settle();
  REQUIRE(log.input == "still here");
  REQUIRE(listener.port() == 80);
  REQUIRE(listener.connectionCount() == 1);
  listener.stop();  // again is nothing
  listener.stop(true);
  REQUIRE(log.lines.back() == "close clean");
  world.settle();
  REQUIRE_FALSE(world.reactor.step());
}

TEST_CASE("stop inside open lets go of the rest of the queue") {
  World world;
  Log log;
  Listener<> listener;
  ListenOptions<> options = serving(log);
  options.socket.open = [&](SocketHandle socket) {
    log.note(socket, "open");
    listener.stop();
  };
  listener = world.reactor.listen(std::move(options)).value();
  auto peers = connectMany(world.kernel, 3);
  world.settle();
  REQUIRE(log.text() == "open");
  REQUIRE(peers[1].wasReset());
  REQUIRE(peers[2].wasReset());
}

TEST_CASE("stop while starving cancels the retry") {
  Starving world(0);
  const auto peers = connectMany(world.kernel, 2);
  world.settle();
  REQUIRE(world.reports.size() == 1);
  world.listener.stop();
  const uint64_t accepts = world.kernel.calls(Call::accept);
  world.elapse(1s);
  REQUIRE(world.kernel.calls(Call::accept) == accepts);
}

TEST_CASE("events for a stopped listener find nothing") {
  World world;
  Log log;
  uint64_t token = 0;
  world.kernel.onWait([&](std::vector<os::Event>& events) {
    if (!events.empty() && token == 0) token = events[0].token;
  });
  Listener<> listener = world.reactor.listen(serving(log)).value();
  const auto peers = connectMany(world.kernel, 1);
  world.settle();
  listener.stop();
  world.settle();
  const uint64_t accepts = world.kernel.calls(Call::accept);
  world.kernel.tell({.ready = os::kReadable, .token = token});
  world.settle();
  REQUIRE(world.kernel.calls(Call::accept) == accepts);
}

// --- binding -------------------------------------------------------------------------------------

TEST_CASE("localhost listens on both loopbacks and one port") {
  World world;
  Log log;
  ListenOptions<> options = serving(log);
  options.hostname = "localhost";
  options.port = 0;
  Listener<> listener = world.reactor.listen(std::move(options)).value();
  REQUIRE(listener.addresses().size() == 2);
  REQUIRE(listener.port() > 0);
  for (const Address& address : listener.addresses()) {
    REQUIRE(address.port() == listener.port());
    world.kernel.connect(address);
  }
  world.settle();
  REQUIRE(log.count("open") == 2);
}

TEST_CASE("without IPv6 localhost is the one loopback there is") {
  World world;
  Log log;
  ListenOptions<> options = serving(log);
  options.hostname = "localhost";
  world.kernel.inject(Call::socket, {});  // the first one is fine
  world.kernel.fail(Call::socket, EAFNOSUPPORT);
  Listener<> listener = world.reactor.listen(std::move(options)).value();
  REQUIRE(listener.addresses() == std::vector{kHere});
}

TEST_CASE("what fails while binding is told with its step, and nothing stays bound") {
  for (const auto& [call, shown] :
       {std::pair(Call::socket, "EMFILE/socket"), std::pair(Call::bind, "EMFILE/bind"),
        std::pair(Call::listen, "EMFILE/listen"), std::pair(Call::add, "EMFILE/socket")}) {
    World world;
    Log log;
    const auto before = world.kernel.openDescriptors();
    world.kernel.fail(call, EMFILE);
    const Result<Listener<>> refused = world.reactor.listen(serving(log));
    REQUIRE(describe(refused.error()) == shown);
    REQUIRE(world.kernel.openDescriptors() == before);
    REQUIRE_FALSE(world.reactor.step());
    world.reactor.listen(serving(log)).value();
  }
}

TEST_CASE("an address in use is refused; reusePort shares it") {
  World world;
  Log log;
  ListenOptions<> shared = serving(log);
  shared.reusePort = true;
  world.reactor.listen(std::move(shared)).value();
  REQUIRE(describe(world.reactor.listen(serving(log)).error()) == "EADDRINUSE/bind");
  ListenOptions<> second = serving(log);
  second.reusePort = true;
  world.reactor.listen(std::move(second)).value();
}

TEST_CASE("a unix path is removed by stop only while it is ours") {
  World world;
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.unix = "test.sock";
  Listener<> listener = world.reactor.listen(std::move(options)).value();
  const std::string path = listener.unixPath();
  REQUIRE(path.front() == '/');
  REQUIRE(world.kernel.fileExists(path));
  listener.stop();
  REQUIRE_FALSE(world.kernel.fileExists(path));

  ListenOptions<> again;
  again.socket = keeping(log);
  again.unix = path;
  listener = world.reactor.listen(std::move(again)).value();
  os::sys::unlink(path);
  world.kernel.serveUnix(path);  // somebody else's
  listener.stop();
  REQUIRE(world.kernel.fileExists(path));
}

// For a descriptor that is listening already.
ListenOptions<> listening(Log& log) {
  ListenOptions<> options;
  options.socket = keeping(log);
  options.fd = static_cast<int>(os::sys::socket(Family::ipv4));
  REQUIRE(os::sys::bind(*options.fd, kHere, {}) == 0);
  REQUIRE(os::sys::listen(*options.fd, 10) == 0);
  return options;
}

TEST_CASE("an adopted listener accepts, and is taken out of the poller before it is closed") {
  World world;
  Log log;
  ListenOptions<> options = listening(log);
  Listener<> listener = world.reactor.listen(std::move(options)).value();
  const auto peers = connectMany(world.kernel, 1);
  world.settle();
  REQUIRE(log.text() == "open");
  listener.stop();
  REQUIRE(world.kernel.calls(Call::remove) == 1);
}

TEST_CASE("a listening descriptor stays open and its owner's when it cannot be watched") {
  World world;
  Log log;
  ListenOptions<> options = listening(log);
  world.kernel.fail(Call::add, ENOSPC);
  REQUIRE(world.reactor.listen(options).error().isErrno(ENOSPC));
  const Listener<> listener = world.reactor.listen(options).value();
  REQUIRE(world.reactor.listen(options).error().is(Usage::conflict));
  const auto peers = connectMany(world.kernel, 1);
  world.settle();
  REQUIRE(log.text() == "open");
  REQUIRE(listener.descriptors() == std::vector{*options.fd});
}

TEST_CASE("a listening descriptor stays open and its owner's when there is no memory") {
  World world;
  Log log;
  ListenOptions<> options = listening(log);
  world.kernel.chaos({.noMemory = 1000});
  REQUIRE(world.reactor.listen(options).error().isErrno(ENOMEM));
  world.kernel.chaos({});
  world.reactor.listen(options).value();
}

TEST_CASE("descriptors that do not listen are refused and stay their owner's") {
  World world;
  Log log;
  const int file = world.kernel.plainFile();
  const auto [stream, peer] = world.kernel.connectedPair(Family::ipv4);
  for (const auto& [fd, shown] :
       {std::pair(file, "ENOTSOCK/socket"), std::pair(stream, "invalid/options"),
        std::pair(999, "EBADF/socket")}) {
    ListenOptions<> options;
    options.socket = keeping(log);
    options.fd = fd;
    REQUIRE(describe(world.reactor.listen(std::move(options)).error()) == shown);
  }
  os::sys::close(file);
  os::sys::close(stream);
}

TEST_CASE("maxSockets makes room for sockets with Data too, and only once for each size of them") {
  struct Session {
    std::array<char, 200> name{};
  };
  World world({.maxSockets = 1000});
  Log log;
  const auto memory = [&] { return world.reactor.stats().memoryBytes; };
  REQUIRE(memory() < 10'000);
  ListenOptions<Session> options{.hostname = "127.0.0.1", .port = 80};
  options.socket = keeping<Session>(log);
  world.reactor.listen(options).value();
  const size_t before = memory();
  REQUIRE(before > 1000 * sizeof(Session));
  connectMany(world.kernel, 500);
  world.settle();
  options.port = 81;
  world.reactor.listen(options).value();
  world.kernel.serve(kHere.withPort(90));
  for (int i = 0; i < 500; ++i) {
    world.reactor
        .connect<Session>({.hostname = "127.0.0.1",
                           .port = 90,
                           .socket = keeping<Session>(log),
                           .connectTimeout = 0s})
        .value();
  }
  world.settle();
  REQUIRE(log.count("open") == 1000);
  REQUIRE(memory() == before);
}

TEST_CASE("an unreferenced listener does not keep run going, its sockets do") {
  World world;
  Log log;
  Listener<> listener = world.reactor.listen(serving(log)).value();
  listener.unref();
  listener.unref();
  REQUIRE(world.reactor.run() == 0);
  listener.ref();
  Peer peer = world.kernel.connect(80);
  world.settle();
  listener.unref();
  world.kernel.after(5s, [&] { peer.close(); });
  const uint64_t begin = world.kernel.now();
  REQUIRE(world.reactor.run() == 0);
  REQUIRE(world.kernel.now() - begin == 5'000'000'000);
  REQUIRE(log.lines.back() == "close clean");
}

#if WARREN_LIBRARY_EXCEPTIONS

struct Uncopyable {
  bool* refuse = nullptr;
  Uncopyable() = default;
  explicit Uncopyable(bool& flag) : refuse(&flag) {}
  Uncopyable(const Uncopyable& other) : refuse(other.refuse) {
    if (refuse != nullptr && *refuse) throw std::runtime_error("no copy today");
  }
  Uncopyable& operator=(const Uncopyable&) = delete;
};

TEST_CASE("Data that throws while it is copied costs its connection, not the listener") {
  World world;
  bool refuse = false;
  int opens = 0;
  std::string report;
  ListenOptions<Uncopyable> options{
      .hostname = "127.0.0.1", .port = 80, .data = Uncopyable(refuse)};
  options.socket.open = [&](SocketHandle) { ++opens; };
  options.socket.data = [](SocketHandle, Bytes) {};
  SECTION("told to acceptError") {
    options.acceptError = [&](const Error& error) {
      report = error.message();
      REQUIRE_THROWS_WITH(std::rethrow_exception(error.exception()), "no copy today");
    };
  }
  SECTION("or out of run") {}
  const bool told = static_cast<bool>(options.acceptError);
  world.reactor.listen(std::move(options)).value();
  refuse = true;
  Peer lost = world.kernel.connect(80);
  if (told) {
    world.settle();
    REQUIRE_FALSE(report.empty());
  } else {
    REQUIRE_THROWS_WITH(world.reactor.step(), "no copy today");
  }
  refuse = false;
  world.kernel.connect(80);
  world.settle();
  REQUIRE(lost.ended());
  REQUIRE(opens == 1);
  REQUIRE(world.reactor.stats().sockets == 1);
}

#endif

}  // namespace
}  // namespace warren::sim
