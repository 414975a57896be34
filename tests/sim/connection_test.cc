// src/net/connection.cc: events, timeouts, facts.
#include <cerrno>
#include <limits>

#include "world.h"

namespace warren::sim {
namespace {

// --- events that come too late -------------------------------------------------------------------

TEST_CASE("an event for a socket closed earlier in the same batch finds nothing") {
  Log log;
  std::vector<SocketHandle> all;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.open = [&](SocketHandle socket) { all.push_back(socket); };
  options.socket.data = [&](SocketHandle socket, Bytes) {
    log.note(socket, "data");
    for (SocketHandle each : all) {
      if (each != socket) each.terminate();
    }
  };
  Served world(std::move(options));
  Peer second = world.kernel.connect(80);
  world.settle();
  world.peer.send("x");
  second.send("y");
  world.settle();
  REQUIRE(log.text() == "data, close clean");
  REQUIRE(world.reactor.stats().staleEvents == 1);
}

TEST_CASE("an event for a socket that has gone finds nothing") {
  Served world;
  const uint64_t token = world.peer.token();
  world.socket.terminate();
  world.settle();
  const uint64_t calls = world.kernel.calls(Call::recv);
  world.kernel.tell({.ready = os::kReadable | os::kWritable | os::kEnded, .token = token});
  world.settle();
  REQUIRE(world.reactor.stats().staleEvents == 1);
  REQUIRE(world.kernel.calls(Call::recv) == calls);
  REQUIRE(world.log.text() == "close clean");
}

TEST_CASE("an event for an earlier socket of the same slot and descriptor finds nothing") {
  Served world;
  const uint64_t token = world.peer.token();
  const int fd = world.peer.fd();
  world.socket.terminate();
  world.settle();
  std::vector<Peer> peers;
  bool reused = false;
  while (!reused) {  // slots rest: the same one comes back when all others were used
    peers.push_back(world.kernel.connect(80));
    world.settle();
    reused = static_cast<uint32_t>(peers.back().token()) == static_cast<uint32_t>(token);
  }
  REQUIRE(peers.front().fd() == fd);
  REQUIRE(peers.back().token() != token);
  world.log.lines.clear();
  world.kernel.tell({.ready = os::kReadable | os::kWritable | os::kEnded, .token = token});
  const uint64_t reads = world.kernel.calls(Call::recv);
  world.settle();
  REQUIRE(world.log.text() == "");
  REQUIRE(world.kernel.calls(Call::recv) == reads);
  REQUIRE(world.reactor.stats().staleEvents == 1);
}

TEST_CASE("a handle whose slot is in use again answers closed, and touches nothing") {
  Served world;
  const Socket<> old = world.socket;
  const uint64_t token = world.peer.token();
  old.terminate();
  world.settle();
  Peer peer;
  do {
    peer = world.kernel.connect(80);
    world.settle();
  } while (static_cast<uint32_t>(peer.token()) != static_cast<uint32_t>(token));
  REQUIRE_FALSE(old);
  REQUIRE(old.write("x") == -1);
  REQUIRE_FALSE(old.send("x"));
  REQUIRE(old.end("x") == -1);
  old.close();
  old.terminate();
  old.shutdown(Side::both);
  old.pause();
  REQUIRE(old.timeout(1s).error().is(Usage::closed));
  REQUIRE(old.idleTimeout(1s).error().is(Usage::closed));
  REQUIRE(old.findData() == nullptr);
  REQUIRE(old.bytesWritten() == 0);
  REQUIRE(old.remoteAddress() == Address());
  world.settle();
  peer.send("alive");
  world.settle();
  REQUIRE(world.log.input == "alive");
}

TEST_CASE("a token that no slot ever had finds nothing") {
  Served world;
  world.kernel.tell(
      {.ready = os::kReadable | os::kWritable | os::kEnded, .token = 0x0123456789abcdef});
  world.kernel.tell({.ready = os::kReadable | os::kWritable | os::kEnded, .token = 0});
  world.kernel.tell(
      {.ready = os::kReadable | os::kWritable | os::kEnded, .token = ~uint64_t{0} - 1});
  world.settle();
  REQUIRE(world.reactor.stats().staleEvents == 3);
}

// --- timeouts ------------------------------------------------------------------------------------

TEST_CASE("timeout is never early and at most a step late, at every phase of the clock") {
  for (const Nanoseconds phase :
       {0ns, 1ns, 250'000ns, 499'999ns, 500'000ns, 699'999ns, 700'000ns}) {
    for (const auto delay : {1ms, 2ms, 63ms, 64ms, 1000ms, 4096ms, 300'000ms}) {
      Served world;
      world.kernel.advance(phase);
      world.socket.timeout(delay).value();
      const Nanoseconds took = world.timeUntil(world.log, "timeout");
      REQUIRE(took >= delay);
      REQUIRE(took <= delay + 1ms);
      REQUIRE(world.log.text() == "timeout, close ETIMEDOUT/timeout");
    }
  }
}

TEST_CASE("spans below a millisecond round up") {
  Served world;
  world.socket.timeout(1ns).value();
  const Nanoseconds took = world.timeUntil(world.log, "timeout");
  REQUIRE(took >= 1ms);
  REQUIRE(took <= 2ms);
}

TEST_CASE("timeout fires whatever the traffic") {
  Served world;
  const uint64_t begin = world.kernel.now();
  world.socket.timeout(100ms).value();
  while (world.log.count("timeout") == 0) {
    world.peer.send("x");
    static_cast<void>(world.socket.write("y"));
    world.elapse(10ms);
  }
  REQUIRE(world.kernel.now() - begin < 120'000'000);
}

TEST_CASE("idleTimeout is pushed back by bytes that arrive") {
  Served world;
  world.socket.idleTimeout(100ms).value();
  for (int i = 0; i < 20; ++i) {
    world.elapse(90ms);
    world.peer.send("x");
    world.settle();
  }
  REQUIRE(world.log.count("timeout") == 0);
  const Nanoseconds took = world.timeUntil(world.log, "timeout");
  REQUIRE(took >= 100ms);
  REQUIRE(took <= 101ms);
}

TEST_CASE("idleTimeout is pushed back by bytes that leave, and not by those that wait") {
  Served world;
  world.socket.idleTimeout(100ms).value();
  for (int i = 0; i < 20; ++i) {
    world.elapse(90ms);
    world.socket.send("x");
    world.settle();
  }
  REQUIRE(world.log.count("timeout") == 0);
  world.peer.room(0);
  const uint64_t begin = world.kernel.now();
  while (world.log.count("timeout") == 0) {
    world.socket.send("x");
    world.elapse(10ms);
  }
  REQUIRE(world.kernel.now() - begin <= 110'000'000);
}

TEST_CASE("idleTimeout counts from the last byte that left, at every phase of the clock") {
  for (int phase = 0; phase < 10; ++phase) {
    Served world;
    world.socket.idleTimeout(100ms).value();
    for (int each = 0; each < 3; ++each) {
      world.elapse(70ms + phase * 100us);
      world.socket.send("x");
      world.settle();
    }
    const Nanoseconds took = world.timeUntil(world.log, "timeout");
    REQUIRE(took >= 100ms);
    REQUIRE(took <= 101ms);
  }
}

TEST_CASE("timeout called again starts anew, and zero turns it off") {
  Served world;
  world.socket.timeout(100ms).value();
  world.elapse(90ms);
  world.socket.timeout(100ms).value();
  world.elapse(90ms);
  REQUIRE(world.log.text() == "");
  world.socket.timeout(0ms).value();
  world.elapse(1h);
  REQUIRE(world.log.text() == "");
  world.socket.idleTimeout(100ms).value();
  world.socket.idleTimeout(0ms).value();
  world.elapse(1h);
  REQUIRE(world.log.text() == "");
}

TEST_CASE("timeout in the place of idleTimeout is no longer pushed back") {
  Served world;
  world.socket.idleTimeout(100ms).value();
  world.socket.timeout(100ms).value();
  world.elapse(60ms);
  world.peer.send("x");
  world.settle();
  world.elapse(60ms);
  REQUIRE(world.log.count("timeout") == 1);
}

TEST_CASE("a timeout handler that arms it again keeps the socket") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.timeout = [&](SocketHandle socket) {
    log.note(socket, "timeout");
    if (log.count("timeout") < 3) socket.timeout(100ms).value();
  };
  Served world(std::move(options));
  log.lines.clear();
  log.socket.timeout(100ms).value();
  world.elapse(250ms);
  REQUIRE(log.text() == "timeout, timeout");
  world.elapse(100ms);
  REQUIRE(log.text() == "timeout, timeout, timeout, close ETIMEDOUT/timeout");
}

TEST_CASE("a timeout handler that only says goodbye does not keep the socket") {
  for (const bool idle : {false, true}) {
    Log log;
    ListenOptions<> options;
    options.socket = keeping(log);
    options.socket.timeout = [&](SocketHandle socket) {
      log.note(socket, "timeout");
      socket.send("too slow");
    };
    Served world(std::move(options));
    log.lines.clear();
    (idle ? log.socket.idleTimeout(100ms) : log.socket.timeout(100ms)).value();
    world.elapse(150ms);
    REQUIRE(world.peer.readAll() == "too slow");
    REQUIRE(log.text() == "timeout, close ETIMEDOUT/timeout");
  }
}

TEST_CASE("a timeout handler may close the socket its own way") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.timeout = [&](SocketHandle socket) { socket.terminate(); };
  Served world(std::move(options));
  log.lines.clear();
  log.socket.timeout(100ms).value();
  world.elapse(1s);
  REQUIRE(log.text() == "close clean");
}

TEST_CASE("without a timeout handler the socket closes with ETIMEDOUT all the same") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.timeout = {};
  Served world(std::move(options));
  log.lines.clear();
  log.socket.timeout(100ms).value();
  world.elapse(1s);
  REQUIRE(log.text() == "close ETIMEDOUT/timeout");
}

TEST_CASE("timeouts that mean nothing are refused and change nothing") {
  Served world;
  world.socket.timeout(100ms).value();
  REQUIRE(world.socket.timeout(-1ms).error().is(Usage::outOfRange));
  REQUIRE(
      world.socket.idleTimeout(std::chrono::hours(24 * 366 * 200)).error().is(Usage::outOfRange));
  const std::chrono::duration<double> notANumber(std::numeric_limits<double>::quiet_NaN());
  REQUIRE(world.socket.timeout(notANumber).error().is(Usage::outOfRange));
  world.elapse(101ms);
  REQUIRE(world.log.count("timeout") == 1);
}

TEST_CASE("a timeout does not outlive its socket") {
  Served world;
  world.socket.timeout(100ms).value();
  world.socket.terminate();
  world.settle();
  world.peer = world.kernel.connect(80);
  world.elapse(1s);
  REQUIRE(world.log.text() == "close clean, open");
}

TEST_CASE("a paused socket times out as well") {
  Served world;
  world.socket.pause();
  world.peer.send("held");
  world.socket.idleTimeout(100ms).value();
  world.elapse(101ms);
  REQUIRE(world.log.text() == "timeout, close ETIMEDOUT/timeout");
}

// --- facts ---------------------------------------------------------------------------------------

TEST_CASE("addresses and counts stay readable in close and after it") {
  Log log;
  Address inClose;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.close = [&](SocketHandle socket, const Error&) {
    inClose = socket.localAddress();
  };
  Served world(std::move(options));
  const SocketHandle socket = log.socket;
  REQUIRE(socket.localAddress() == kHere);
  REQUIRE(socket.remoteAddress() == world.peer.address());
  world.peer.send("12345");
  world.settle();
  REQUIRE(socket.write("123") == 3);
  world.peer.reset();
  world.settle();
  REQUIRE(inClose == kHere);
  REQUIRE(socket.remoteAddress() == world.peer.address());
  REQUIRE(socket.localAddress() == kHere);
  REQUIRE(socket.bytesRead() == 5);
  REQUIRE(socket.bytesWritten() == 3);
}

TEST_CASE("readyState walks through a socket's life") {
  ListenOptions<> options;
  options.allowHalfOpen = true;
  Served world(std::move(options));
  REQUIRE(world.socket.readyState() == ReadyState::open);
  world.socket.end();
  REQUIRE(world.socket.readyState() == ReadyState::ended);
  world.peer.close();
  world.settle();
  REQUIRE(world.socket.readyState() == ReadyState::closed);
}

TEST_CASE("options of a socket answer false where they cannot be") {
  Served world;
  REQUIRE(world.socket.setNoDelay());
  REQUIRE(world.socket.setKeepAlive(true, 1500ms));
  REQUIRE_FALSE(world.socket.setKeepAlive(true, -1ms));
  world.socket.terminate();
  REQUIRE_FALSE(world.socket.setNoDelay());
  REQUIRE_FALSE(world.socket.setKeepAlive());

  ListenOptions<> options;
  options.unix = "/run/test";
  Served local(std::move(options));
  REQUIRE_FALSE(local.socket.setNoDelay());
  REQUIRE(local.socket.remoteAddress().family() == Family::unix);
}

// --- every handler may call every verb -----------------------------------------------------------

TEST_CASE("every verb may be called inside every handler") {
  using Verb = void (*)(SocketHandle, Reactor&, ListenerHandle);
  static constexpr Verb kVerbs[] = {
      [](SocketHandle socket, Reactor&, ListenerHandle) { static_cast<void>(socket.write("w")); },
      [](SocketHandle socket, Reactor&, ListenerHandle) { socket.send(pattern(200'000)); },
      [](SocketHandle socket, Reactor&, ListenerHandle) { socket.end("bye"); },
      [](SocketHandle socket, Reactor&, ListenerHandle) { socket.terminate(); },
      [](SocketHandle socket, Reactor&, ListenerHandle) { socket.shutdown(Side::both); },
      [](SocketHandle socket, Reactor&, ListenerHandle) { socket.close(); },
      [](SocketHandle socket, Reactor&, ListenerHandle) { socket.pause(); },
      [](SocketHandle socket, Reactor&, ListenerHandle) { socket.resume(); },
      [](SocketHandle socket, Reactor&, ListenerHandle) { socket.flush(); },
      [](SocketHandle socket, Reactor&, ListenerHandle) { Cork cork = socket.cork(); },
      [](SocketHandle socket, Reactor&, ListenerHandle) { socket.unref(); },
      [](SocketHandle socket, Reactor&, ListenerHandle) {
        static_cast<void>(socket.timeout(50ms));
      },
      [](SocketHandle, Reactor&, ListenerHandle listener) { listener.stop(); },
      [](SocketHandle, Reactor&, ListenerHandle listener) { listener.stop(true); },
      [](SocketHandle, Reactor& reactor, ListenerHandle) { reactor.stop(); },
      [](SocketHandle, Reactor& reactor, ListenerHandle) {
        CHECK(reactor.run() == 0);
        reactor.step();
      },
      [](SocketHandle, Reactor& reactor, ListenerHandle) {
        ConnectOptions<> options{.hostname = "127.0.0.1", .port = 81};
        options.socket.data = [](SocketHandle, Bytes) {};
        reactor.connect(std::move(options)).value();
      },
  };
  for (int handler = 0; handler < 6; ++handler) {
    for (const Verb verb : kVerbs) {
      World world;
      Reactor& reactor = world.reactor;
      Listener<> listener;
      int opens = 0;
      int closes = 0;
      const auto act = [&](int place, SocketHandle socket) {
        if (place == handler) verb(socket, reactor, listener);
      };
      ListenOptions<> options{.hostname = "127.0.0.1", .port = 80};
      options.socket.open = [&](SocketHandle socket) {
        ++opens;
        act(0, socket);
        if (handler == 2) static_cast<void>(socket.write(pattern(1'000'000)));
        if (handler == 5) socket.timeout(10ms).value();
      };
      options.socket.data = [&](SocketHandle socket, Bytes) { act(1, socket); };
      options.socket.drain = [&](SocketHandle socket) { act(2, socket); };
      options.socket.end = [&](SocketHandle socket) { act(3, socket); };
      options.socket.close = [&](SocketHandle socket, const Error&) {
        ++closes;
        act(4, socket);
      };
      options.socket.timeout = [&](SocketHandle socket) {
        act(5, socket);
        if (closes == 0) socket.terminate();
      };
      listener = world.reactor.listen(std::move(options)).value();
      Peer peer = world.kernel.connect(80);
      Peer other = world.kernel.connect(80);
      world.settle();
      peer.readAll();
      world.settle();
      peer.readAll();
      peer.send(pattern(1000));
      world.settle();
      world.elapse(100ms);
      peer.shutdownWrite();
      other.reset();
      world.settle();
      world.kernel.after(11s, [&] { peer.reset(); });
      world.elapse(30s);
      CHECK(closes <= opens);
      reactor.defer([&] { listener.stop(true); });
      world.settle();
      world.elapse(30s);
      CHECK(closes == opens);
      CHECK(reactor.stats().sockets == 0);
    }
  }
}

}  // namespace
}  // namespace warren::sim
