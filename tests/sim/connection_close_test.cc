// src/net/connection_close.cc: every way to the end of a socket.
#include <cerrno>

#include "world.h"

namespace warren::sim {
namespace {

// --- why -----------------------------------------------------------------------------------------

TEST_CASE("close after both FINs is clean") {
  Served world;
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.text() == "end, close clean");
  REQUIRE(world.peer.ended());
  REQUIRE_FALSE(world.peer.wasReset());
}

TEST_CASE("close tells a reset met by reading") {
  Served world;
  world.peer.reset();
  world.settle();
  REQUIRE(world.log.text() == "close ECONNRESET/read");
}

TEST_CASE("close tells a failed write, after what the peer had sent was read to its end") {
  Served world;
  world.peer.send("last words");
  world.settle();
  world.log.lines.clear();
  world.peer.send("more");
  world.peer.close();
  world.kernel.fail(Call::send, EPIPE);
  REQUIRE(world.socket.write("too late") == -1);
  REQUIRE(world.socket.write("again") == -1);
  REQUIRE(world.log.text() == "");
  world.settle();
  REQUIRE(world.log.input == "last wordsmore");
  REQUIRE(world.log.lines.back() == "close EPIPE/write");
}

TEST_CASE("a half-open socket whose peer is gone altogether closes with the failed write") {
  ListenOptions<> options;
  options.allowHalfOpen = true;
  Served world(std::move(options));
  world.peer.close();
  world.settle();
  REQUIRE(world.log.text() == "end");
  REQUIRE(world.socket.write("answered with a reset") == 21);
  REQUIRE(world.log.text() == "end");  // not inside the call
  world.settle();
  REQUIRE(world.log.text() == "end, close EPIPE/read");
}

TEST_CASE("a queue behind the peer's FIN that meets a broken pipe closes with it at once") {
  Served world;
  world.peer.room(0);
  world.socket.send("1234");
  world.peer.close();
  world.settle();
  REQUIRE(world.log.text() == "end");
  world.kernel.fail(Call::send, EPIPE);
  world.peer.room(4);
  world.settle();
  REQUIRE(world.log.text() == "end, close EPIPE/write");
  REQUIRE(world.socket.unsentBytes() == 4);
}

TEST_CASE("unsentBytes tells in close, and after it, what was accepted and not taken") {
  uint64_t inClose = 0;
  ListenOptions<> options;
  options.socket.open = [](SocketHandle) {};
  options.socket.data = [](SocketHandle, Bytes) {};
  options.socket.close = [&](SocketHandle socket, const Error&) { inClose = socket.unsentBytes(); };
  Log log;
  options.socket.open = [&](SocketHandle socket) { log.socket = socket; };
  Served world(std::move(options));
  world.peer.room(10);
  log.socket.send(pattern(30));
  world.settle();
  world.peer.reset();
  world.settle();
  REQUIRE(inClose == 20);
  REQUIRE(log.socket.unsentBytes() == 20);
  REQUIRE(log.socket.bytesWritten() == 30);
  REQUIRE(log.socket.readyState() == ReadyState::closed);
  REQUIRE(log.socket.remoteAddress() == world.peer.address());
}

// --- the peer's end ------------------------------------------------------------------------------

TEST_CASE("the peer's FIN is answered with ours, after everything that was accepted") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.end = [&](SocketHandle socket) { socket.send("goodbye"); };
  Served world(std::move(options));
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.peer.readAll() == "goodbye");
  REQUIRE(world.peer.ended());
  REQUIRE(log.lines.back() == "close clean");
}

TEST_CASE("the peer's FIN waits for a full outbox before the socket closes") {
  Served world;
  world.peer.room(0);
  world.socket.send(pattern(1000));
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.text() == "end");
  REQUIRE(world.socket.readyState() == ReadyState::ended);
  world.elapse(9s);
  world.peer.room(1000);
  world.settle();
  REQUIRE(world.log.text() == "end, close clean");
  REQUIRE(world.peer.readAll() == pattern(1000));
  REQUIRE(world.peer.ended());
}

TEST_CASE("a peer that has ended and does not read either is cut after linger.timeout") {
  Served world;
  world.peer.room(0);
  world.socket.send(pattern(1000));
  world.peer.shutdownWrite();
  const Nanoseconds took = world.timeUntil(world.log, "close ETIMEDOUT/linger");
  REQUIRE(took >= 10s);
  REQUIRE(took <= 10s + 1ms);
  world.settle();
  REQUIRE(world.peer.wasReset());
}

// Answers with more than the kernel takes, and goes on in `drain` as long as something is left.
struct Answering {
  Log log;
  std::string left = pattern(5000);

  ListenOptions<> options() {
    ListenOptions<> options;
    options.socket = keeping(log);
    options.socket.data = [this](SocketHandle socket, Bytes) { go(socket); };
    options.socket.drain = [this](SocketHandle socket) {
      log.note(socket, "drain");
      go(socket);
    };
    return options;
  }
  void go(SocketHandle socket) {
    left.erase(0, static_cast<size_t>(std::max<std::ptrdiff_t>(0, socket.write(left))));
  }
};

TEST_CASE("an answer written from drain reaches a peer that ended behind its question") {
  Answering answering;
  Served world(answering.options());
  world.peer.room(1000);
  world.peer.send("?");
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(answering.log.text() == "open, end");
  REQUIRE(Socket<>(answering.log.socket).readyState() == ReadyState::peerEnded);
  std::string got;
  while (!world.peer.ended()) {
    got += world.peer.readAll();
    world.peer.room(1000);
    world.settle();
    REQUIRE(got.size() + answering.left.size() <= 5000);
  }
  REQUIRE(got + world.peer.readAll() == pattern(5000));
  REQUIRE(answering.log.text() == "open, end, drain, drain, drain, drain, close clean");
}

TEST_CASE("what a timeout handler says with end reaches a reader who is slow") {
  World world;
  Log log;
  ListenOptions<> options{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
  const std::string goodbye(2'000'000, 'x');
  options.socket.open = [](SocketHandle socket) { socket.idleTimeout(100ms).value(); };
  options.socket.timeout = [&](SocketHandle socket) {
    CHECK(socket.end(goodbye) == std::ssize(goodbye));
  };
  REQUIRE(world.reactor.listen(std::move(options)));
  Peer peer = world.kernel.connect(80);
  peer.send("never read");
  world.settle();
  world.elapse(101ms);
  world.settle();
  std::string got;
  while (!peer.ended() && !peer.wasReset()) {
    got += peer.read(50'000);
    world.settle();
  }
  REQUIRE(got == goodbye);
  peer.close();
  world.settle();
  REQUIRE(log.count("close ETIMEDOUT/timeout") == 1);
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("a peer that ended while drain was owed and takes nothing is cut after linger.timeout") {
  Answering answering;
  Served world(answering.options());
  world.peer.room(1000);
  world.peer.send("?");
  world.peer.shutdownWrite();
  const Nanoseconds took = world.timeUntil(answering.log, "close ETIMEDOUT/linger");
  REQUIRE(took >= 10s);
  REQUIRE(took <= 10s + 1ms);
  REQUIRE(answering.log.text() == "open, end, close ETIMEDOUT/linger");
  world.settle();
  REQUIRE(world.peer.wasReset());  // no end behind half an answer
}

TEST_CASE(
    "a socket without drain answers the peer's end once there is room, whatever was refused") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.drain = {};
  Served world(std::move(options));
  Socket<> socket(log.socket);
  world.peer.room(10);
  REQUIRE(socket.write(pattern(11)) == 10);
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE_FALSE(world.peer.ended());
  REQUIRE(socket.write("more") == 0);
  world.peer.room(10);
  world.settle();
  REQUIRE(world.peer.readAll() == pattern(10));
  REQUIRE(world.peer.ended());
  REQUIRE(log.text() == "open, end, close clean");
}

TEST_CASE("allowHalfOpen leaves our side open after the peer's FIN, for as long as we want") {
  ListenOptions<> options;
  options.allowHalfOpen = true;
  Served world(std::move(options));
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.text() == "end");
  REQUIRE(world.socket.readyState() == ReadyState::peerEnded);
  world.elapse(1h);
  world.socket.send("answer");
  world.settle();
  REQUIRE(world.peer.readAll() == "answer");
  REQUIRE_FALSE(world.peer.ended());
  world.socket.end();
  world.settle();
  REQUIRE(world.peer.ended());
  REQUIRE(world.log.text() == "end, close clean");
}

TEST_CASE("with allowHalfOpen our end leaves the peer's side open, for as long as it wants") {
  ListenOptions<> options;
  options.allowHalfOpen = true;
  Served world(std::move(options));
  world.socket.end("question");
  world.settle();
  REQUIRE(world.peer.readAll() == "question");
  REQUIRE(world.peer.ended());
  REQUIRE(world.socket.readyState() == ReadyState::ended);
  world.elapse(1h);
  world.peer.send("answer");
  world.peer.close();
  world.settle();
  REQUIRE(world.log.input == "answer");
  REQUIRE(world.log.text() == "data, end, close clean");
}

TEST_CASE("shutdown(write) sends a FIN after what was accepted; the socket stays") {
  Served world;
  world.peer.room(3);
  world.socket.send("12345");
  world.socket.shutdown();
  world.settle();
  REQUIRE(world.socket.readyState() == ReadyState::ended);
  REQUIRE_FALSE(world.peer.ended());
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.peer.readAll() == "12345");
  REQUIRE(world.peer.ended());
  world.elapse(1h);  // no linger limits: it was not said that we are done
  world.peer.send("still talking");
  world.settle();
  REQUIRE(world.log.text() == "data");
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.text() == "data, end, close clean");
}

// --- end -----------------------------------------------------------------------------------------

TEST_CASE("end sends its FIN only after the outbox, and input keeps coming") {
  Served world;
  world.peer.room(0);
  world.socket.send("queued ");
  REQUIRE(world.socket.end("last") == 4);
  REQUIRE(world.socket.readyState() == ReadyState::ended);
  world.settle();
  REQUIRE(world.kernel.calls(Call::shutdown) == 0);
  world.peer.send("input");
  world.settle();
  REQUIRE(world.log.input == "input");
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.kernel.calls(Call::shutdown) == 1);
  REQUIRE(world.peer.readAll() == "queued last");
  REQUIRE(world.peer.ended());
  world.peer.send(" more");
  world.settle();
  REQUIRE(world.log.input == "input more");
  world.peer.close();
  world.settle();
  REQUIRE(world.log.text() == "data, data, end, close clean");
}

TEST_CASE("after end a silent peer is cut when linger.timeout is up, not before") {
  for (const Nanoseconds phase : {0ns, 1ns, 499'999ns, 999'999ns}) {
    ListenOptions<> options;
    options.linger.timeout = 3s;
    Served world(std::move(options));
    world.kernel.advance(phase);
    world.socket.end("bye");
    world.reactor.step();
    const Nanoseconds took = world.timeUntil(world.log, "close ETIMEDOUT/linger");
    REQUIRE(took >= 3s);
    REQUIRE(took <= 3s + 1ms);
  }
}

TEST_CASE("after end every byte the peer takes starts linger.timeout anew") {
  ListenOptions<> options;
  options.linger.timeout = 3s;
  Served world(std::move(options));
  world.peer.room(0);
  world.socket.end(pattern(100));
  for (int i = 0; i < 5; ++i) {
    world.elapse(2s);
    world.peer.room(10);
  }
  world.settle();
  REQUIRE(world.socket.unsentBytes() == 50);
  const Nanoseconds took = world.timeUntil(world.log, "close ETIMEDOUT/linger");
  REQUIRE(took >= 3s);
  REQUIRE(took <= 3s + 1ms);
  REQUIRE(world.socket.unsentBytes() == 50);
  world.settle();
  REQUIRE(world.peer.wasReset());
}

TEST_CASE("once it has our FIN, what the peer says starts linger.timeout anew") {
  ListenOptions<> options;
  options.linger.timeout = 3s;
  Served world(std::move(options));
  world.socket.end("question");
  for (int i = 0; i < 5; ++i) {
    world.elapse(2s);
    world.peer.send("x");
    world.settle();
  }
  REQUIRE(world.log.count("data") == 5);
  const Nanoseconds took = world.timeUntil(world.log, "close ETIMEDOUT/linger");
  REQUIRE(took >= 3s - 1ms);
  REQUIRE(took <= 3s + 1ms);
}

TEST_CASE("a peer that talks but takes nothing does not hold a finished socket for ever") {
  const bool closes = GENERATE(false, true);
  INFO("close " << closes);
  ListenOptions<> options;
  options.linger.timeout = 3s;
  Served world(std::move(options));
  world.peer.room(0);
  world.socket.send(pattern(100));
  closes ? world.socket.close() : static_cast<void>(world.socket.end());
  world.settle();
  int said = 0;
  while (!world.peer.wasReset() && said < 100) {
    world.elapse(1s);
    world.peer.send("x");
    ++said;
  }
  REQUIRE(said >= 3);
  REQUIRE(said <= 5);
}

TEST_CASE("a peer that sends to nobody is cut by linger.bytes, though it takes nothing either") {
  ListenOptions<> options;
  options.linger.bytes = 16;
  Served world(std::move(options));
  world.peer.room(0);
  world.socket.send(pattern(100));
  world.socket.close();
  world.settle();
  world.peer.send(pattern(16));
  world.settle();
  REQUIRE_FALSE(world.peer.wasReset());
  world.peer.send("x");
  world.settle();
  REQUIRE(world.peer.wasReset());
}

TEST_CASE("writes that the kernel refuses are no progress") {
  ListenOptions<> options;
  options.linger.timeout = 3s;
  Served world(std::move(options));
  world.peer.room(0);
  world.socket.end(pattern(100));
  world.settle();
  const uint64_t begin = world.kernel.now();
  for (int i = 1; i <= 10; ++i) {
    world.kernel.after(i * 500ms, [&] { world.kernel.writableTwice(); });
  }
  world.timeUntil(world.log, "close ETIMEDOUT/linger");
  REQUIRE(world.kernel.now() - begin <= 3'002'000'000);
}

TEST_CASE("after end an endless peer is cut by linger.bytes") {
  ListenOptions<> options;
  options.linger.bytes = 100'000;
  Served world(std::move(options));
  world.socket.end();
  world.settle();
  world.peer.send(pattern(100'000));
  world.settle();
  REQUIRE(world.log.input.size() == 100'000);
  REQUIRE(world.log.count("close tooMuch/linger") == 0);
  world.peer.send("x");
  world.settle();
  REQUIRE(world.log.lines.back() == "close tooMuch/linger");
  REQUIRE(world.log.input.size() == 100'000);
}

TEST_CASE("input before our FIN does not count for linger.bytes") {
  ListenOptions<> options;
  options.linger.bytes = 1000;
  Served world(std::move(options));
  world.peer.room(0);
  world.socket.end("held");
  world.peer.send(pattern(50'000));
  world.settle();
  REQUIRE(world.log.input.size() == 50'000);
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.peer.readAll() == "held");
  world.peer.send(pattern(1000));
  world.peer.close();
  world.settle();
  REQUIRE(world.log.lines.back() == "close clean");
}

TEST_CASE("end inside data still delivers the answer when the peer has closed already") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.data = [&](SocketHandle socket, Bytes) { socket.end("answer"); };
  Served world(std::move(options));
  world.peer.send("question");
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.peer.readAll() == "answer");
  REQUIRE(log.lines.back() == "close clean");
}

// --- close ---------------------------------------------------------------------------------------

TEST_CASE("close fires inside the call, and no handler after it") {
  Served world;
  world.socket.send(pattern(500'000));
  world.socket.close();
  REQUIRE(world.log.text() == "close clean");
  REQUIRE(world.socket.readyState() == ReadyState::closed);
  REQUIRE(world.socket.write("x") == -1);
  world.peer.send("unheard");
  world.settle();
  world.peer.readAll();
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.text() == "close clean");
}

TEST_CASE("close keeps delivering behind the scenes while input is discarded") {
  Served world;
  const std::string all = pattern(1'000'000);
  world.socket.send(all);
  world.socket.close();
  world.peer.send("unread input would reset the connection");
  std::string got;
  while (!world.peer.ended()) {
    world.settle();
    got += world.peer.read(50'000);
    world.peer.send("x");
    REQUIRE_FALSE(world.peer.wasReset());
  }
  REQUIRE(got == all);
  REQUIRE(world.reactor.stats().sockets == 1);  // until the peer's FIN
  world.peer.close();
  world.settle();
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("close with nothing written closes at once") {
  Served world;
  world.socket.close();
  world.reactor.step();
  REQUIRE(world.peer.ended());
  REQUIRE(world.peer.fd() == -1);
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("close after the peer's FIN closes as soon as all is written") {
  ListenOptions<> options;
  options.allowHalfOpen = true;
  Served world(std::move(options));
  REQUIRE(world.socket.write("all of it") == 9);
  world.peer.shutdownWrite();
  world.settle();
  world.socket.close();
  world.reactor.step();
  REQUIRE(world.peer.fd() == -1);
  REQUIRE(world.peer.readAll() == "all of it");
  REQUIRE(world.peer.ended());
}

TEST_CASE("a closed socket is cut when its peer is silent for linger.timeout") {
  for (const bool allowHalfOpen : {false, true}) {
    ListenOptions<> options;
    options.allowHalfOpen = allowHalfOpen;
    options.linger.timeout = 3s;
    Served world(std::move(options));
    REQUIRE(world.socket.write("hello") == 5);
    world.socket.close();
    world.elapse(3s - 1ms);
    REQUIRE(world.reactor.stats().sockets == 1);
    world.elapse(2ms);
    REQUIRE(world.reactor.stats().sockets == 0);
  }
}

TEST_CASE("a closed socket whose peer never stops talking is cut by linger.bytes") {
  ListenOptions<> options;
  options.linger.bytes = 10'000;
  Served world(std::move(options));
  REQUIRE(world.socket.write("hello") == 5);
  world.socket.close();
  world.settle();
  world.peer.send(pattern(10'000));
  world.settle();
  REQUIRE(world.reactor.stats().sockets == 1);
  world.peer.send("x");
  world.settle();
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("run does not return before a closed socket has delivered what it accepted") {
  Served world;
  world.socket.send(pattern(1'000'000));
  world.socket.close();
  world.listener.stop();
  std::string got;
  std::function<void()> readSlowly = [&] {
    got += world.peer.read(10'000);
    if (world.peer.ended()) return world.peer.close();
    world.kernel.after(1ms, readSlowly);
  };
  world.kernel.after(1ms, readSlowly);
  world.reactor.run();
  REQUIRE(got == pattern(1'000'000));
}

TEST_CASE("close discards what a pause held, and the connection still ends in order") {
  Served world;
  REQUIRE(world.socket.write("hello") == 5);
  world.socket.pause();
  world.peer.send("held");
  world.settle();
  world.socket.close();
  world.settle();
  REQUIRE(world.peer.readAll() == "hello");
  REQUIRE(world.peer.ended());
  REQUIRE_FALSE(world.peer.wasReset());
}

// --- terminate -----------------------------------------------------------------------------------

TEST_CASE("terminate resets, drops what is unsent, and closes without an error") {
  Served world;
  world.peer.room(10);
  world.socket.send(pattern(100));
  world.settle();
  world.socket.terminate();
  REQUIRE(world.log.text() == "close clean");
  world.settle();
  REQUIRE(world.peer.wasReset());
  REQUIRE(world.peer.readAll() == pattern(10));
  REQUIRE(world.kernel.calls(Call::reset) == 1);
}

TEST_CASE("terminate of a unix socket is an abrupt close") {
  ListenOptions<> options;
  options.unix = "/run/test";
  Served world(std::move(options));
  world.socket.terminate();
  world.settle();
  REQUIRE(world.peer.ended());
}

// --- Data ----------------------------------------------------------------------------------------

struct Counted {
  int* alive = nullptr;
  Counted() = default;
  explicit Counted(int& count) : alive(&count) { ++*alive; }
  Counted(const Counted& other) : alive(other.alive) {
    if (alive != nullptr) ++*alive;
  }
  Counted& operator=(const Counted&) = delete;
  ~Counted() {
    if (alive != nullptr) --*alive;
  }
};

TEST_CASE("Data lives until close has returned and is destroyed once") {
  int alive = 0;
  int inClose = 0;
  {
    World world;
    ListenOptions<Counted> options{.hostname = "127.0.0.1", .port = 80, .data = Counted(alive)};
    options.socket.data = [](Socket<Counted> socket, Bytes) { socket.close(); };
    options.socket.close = [&](Socket<Counted> socket, const Error&) {
      CHECK(socket.data().alive == &alive);
      inClose = alive;
    };
    world.reactor.listen(std::move(options)).value();
    const int before = alive;
    Peer peer = world.kernel.connect(80);
    Peer second = world.kernel.connect(80);
    world.settle();
    REQUIRE(alive == before + 2);
    peer.send("x");
    world.settle();
    REQUIRE(inClose == before + 2);
    REQUIRE(alive == before + 1);
    peer.close();
    second.reset();
    world.settle();
    REQUIRE(alive == before);
    world.kernel.connect(80);
    world.settle();
    REQUIRE(alive == before + 1);
  }
  REQUIRE(alive == 0);
}

TEST_CASE("Data of a lingering socket goes at the end of the turn that closed it") {
  int alive = 0;
  World world;
  ListenOptions<Counted> options{.hostname = "127.0.0.1", .port = 80, .data = Counted(alive)};
  Socket<Counted> socket;
  options.socket.open = [&](Socket<Counted> opened) { socket = opened; };
  options.socket.data = [](Socket<Counted>, Bytes) {};
  world.reactor.listen(std::move(options)).value();
  const int before = alive;
  world.kernel.connect(80);
  world.settle();
  socket.send(pattern(500'000));
  world.reactor.defer([&] {
    socket.close();
    CHECK(alive == before + 1);
  });
  world.reactor.step();
  REQUIRE(alive == before);
  REQUIRE(socket.findData() == nullptr);
  REQUIRE(world.reactor.stats().sockets == 1);
}

TEST_CASE("every descriptor and slot is given back, whatever the end") {
  World world;
  Log log;
  ListenOptions<> options{.hostname = "127.0.0.1", .port = 80};
  options.socket = keeping(log);
  auto listener = world.reactor.listen(std::move(options)).value();
  world.settle();
  const auto descriptors = world.kernel.openDescriptors();
  const Stats before = world.reactor.stats();
  for (int round = 0; round < 20; ++round) {
    std::vector<Peer> peers;
    std::vector<SocketHandle> sockets;
    for (int each = 0; each < 10; ++each) {
      peers.push_back(world.kernel.connect(80));
      world.settle();
      sockets.push_back(log.socket);
      sockets.back().send(pattern(1000));
      sockets.back().timeout(1h).value();
    }
    world.settle();
    peers[0].close();
    peers[1].reset();
    peers[2].shutdownWrite();
    sockets[3].close();
    sockets[4].terminate();
    sockets[5].end();
    sockets[6].timeout(5ms).value();
    sockets[7].idleTimeout(5ms).value();
    sockets[8].shutdown(Side::both);
    sockets[9].end();
    sockets[9].close();
    world.elapse(10s + 10ms);
    peers[8].close();
    world.settle();
    REQUIRE(world.kernel.openDescriptors() == descriptors);
    REQUIRE(world.reactor.stats().sockets == 0);
    REQUIRE(world.reactor.stats().slots == before.slots);
  }
  const Stats after = world.reactor.stats();
  REQUIRE(after.opened == 200);
  REQUIRE(after.closed == 200);
  REQUIRE(after.accepted == 200);
  REQUIRE(listener.connectionCount() == 0);
}

// --- what a failed write does -----------------------------------------------------------------------

TEST_CASE("a write that fails for no reason reading can tell closes the socket with its error") {
  const int error = GENERATE(ENOBUFS, EACCES, EPIPE);
  INFO(error);
  Served world;
  world.peer.send("before");
  world.kernel.fail(Call::send, error);
  REQUIRE(world.socket.write("lost") == -1);
  world.settle();
  REQUIRE(world.log.input == "before");
  REQUIRE(world.log.text() == "data, close " + describe(Error(Origin::kernel, error, Step::write)));
}

TEST_CASE("a reset that a write has met is no end of the peer") {
  Served world;
  world.peer.send("half a mess");
  world.kernel.fail(Call::send, ECONNRESET);
  world.peer.shutdownWrite();  // how the kernel answers reads once the error was told
  REQUIRE(world.socket.write("x") == -1);
  world.settle();
  REQUIRE(world.log.text() == "data, close ECONNRESET/write");
}

TEST_CASE("who has paused until drain hears of the reset that his write in drain has met") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.drain = [&](Socket<> socket) {
    log.note(socket, "drain");
    if (socket.write("more") >= 0) socket.resume();
  };
  Served world(std::move(options));
  const Socket<> socket(log.socket);
  log.lines.clear();
  world.peer.room(2);
  REQUIRE(socket.write("12345") == 2);
  socket.pause();
  world.settle();
  world.kernel.fail(Call::send, ECONNRESET);
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(log.text() == "drain, close ECONNRESET/write");
}

TEST_CASE("an echo that pauses when send says so is not left behind by a reset that send has met") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.data = [&](Socket<> socket, Bytes) {
    log.note(socket, "data");
    if (!socket.send(pattern(size_t{64} << 10))) socket.pause();
  };
  Served world(std::move(options));
  world.kernel.fail(Call::send, ECONNRESET);
  world.peer.send("ping");
  world.settle();
  REQUIRE(log.text() == "open, data, close ECONNRESET/write");
}

TEST_CASE("a pause after a write was answered with -1 holds nothing back") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.data = [&](Socket<> socket, Bytes) {
    log.note(socket, "data");
    if (socket.write("answer") < 0) socket.pause();
  };
  Served world(std::move(options));
  world.kernel.fail(Call::send, ECONNRESET);
  world.peer.send("ping");
  world.settle();
  REQUIRE(log.text() == "open, data, close ECONNRESET/write");
}

TEST_CASE("who is owed a drain when a write fails behind the scenes cannot pause until it") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.data = [&](Socket<> socket, Bytes) {
    log.note(socket, "data");
    socket.pause();  // for it knows that it is full
  };
  Served world(std::move(options));
  const Socket<> socket(log.socket);
  log.lines.clear();
  world.peer.room(2);
  REQUIRE(socket.write("12345") == 2);
  REQUIRE(socket.send("queued"));
  world.settle();
  world.kernel.fail(Call::send, ECONNRESET);
  world.peer.send("ping");
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(log.text() == "data, close ECONNRESET/write");
}

TEST_CASE("a pause that waits for nothing of ours survives a failed write behind the scenes") {
  Served world;
  world.socket.pause();
  world.peer.send("kept");
  world.kernel.fail(Call::send, ECONNRESET);
  REQUIRE(world.socket.send("queued"));
  world.settle();
  REQUIRE(world.log.text() == "");
  world.socket.resume();
  world.settle();
  REQUIRE(world.log.text() == "data, close ECONNRESET/write");
}

TEST_CASE("a reset is noticed by a half-open socket that has read everything and is idle") {
  ListenOptions<> options;
  options.allowHalfOpen = true;
  Served world(std::move(options));
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.text() == "end");
  world.peer.reset();
  world.settle();
  REQUIRE(world.log.lines.size() == 2);
  REQUIRE(world.log.lines[1].starts_with("close E"));
}

TEST_CASE("a reactor that goes away resets the streams it cuts short, and no others") {
  const size_t room = GENERATE(size_t{50}, size_t{100});
  Served world;
  world.peer.room(room);
  world.socket.send(pattern(100));
  world.settle();
  world.owned.reset();
  REQUIRE(world.peer.wasReset() == (room < 100));
}

TEST_CASE("upgradeTls of a socket that is long closed answers closed") {
  Served world;
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.text() == "end, close clean");
  const Result<void> upgraded = world.socket.upgradeTls({});
  REQUIRE(upgraded.error().is(Usage::closed));
}

}  // namespace
}  // namespace warren::sim
