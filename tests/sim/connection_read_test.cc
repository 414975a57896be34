// src/net/connection_read.cc: from the kernel to the `data` handler.
#include <algorithm>

#include "world.h"

namespace warren::sim {
namespace {

constexpr size_t kReceiveBuffer = 65536;  // the reactor's

TEST_CASE("a FIN right behind data is seen in the same turn") {
  for (const size_t size : {size_t{1}, kReceiveBuffer - 1, kReceiveBuffer, kReceiveBuffer + 1}) {
    for (const Family family : {Family::ipv4, Family::unix}) {
      ListenOptions<> options;
      if (family == Family::unix) options.unix = "/run/test";
      Served world(std::move(options));
      REQUIRE(world.peer.send(pattern(size)) == size);
      world.peer.shutdownWrite();
      world.reactor.step();
      REQUIRE(world.log.input == pattern(size));
      REQUIRE(world.log.count("end") == 1);
      REQUIRE(world.log.lines.back() == "close clean");
    }
  }
}

TEST_CASE("a FIN that comes after data was read is an edge of its own") {
  for (const size_t size : {size_t{1}, kReceiveBuffer - 1, kReceiveBuffer, kReceiveBuffer + 1}) {
    Served world;
    world.peer.send(pattern(size));
    world.settle();
    REQUIRE(world.log.input == pattern(size));
    REQUIRE(world.log.count("end") == 0);
    world.peer.shutdownWrite();
    world.settle();
    REQUIRE(world.log.count("end") == 1);
  }
}

TEST_CASE("a FIN that arrives while its data is being read is not lost") {
  Log log;
  Peer* peer = nullptr;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.data = [&](SocketHandle socket, Bytes) {
    log.note(socket, "data");
    peer->shutdownWrite();  // behind the short read that this came from
  };
  Served world(std::move(options));
  peer = &world.peer;
  log.lines.clear();
  world.peer.send("x");
  world.settle();
  REQUIRE(log.text() == "data, end, close clean");
}

TEST_CASE("data that arrives while data is being read is not lost") {
  Log log;
  Peer* peer = nullptr;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.data = [&](SocketHandle, Bytes bytes) {
    log.input += asText(bytes);
    if (log.input.size() < 10) peer->send("x");
  };
  Served world(std::move(options));
  peer = &world.peer;
  world.peer.send("x");
  world.settle();
  REQUIRE(log.input == "xxxxxxxxxx");
}

TEST_CASE("bytes that can be read are delivered before a reset is told") {
  Served world;
  world.peer.send(pattern(100'000));
  world.peer.reset();
  world.settle();
  REQUIRE(world.log.input == pattern(100'000));
  REQUIRE(world.log.lines.back() == "close ECONNRESET/read");
  REQUIRE(world.log.count("end") == 0);
}

TEST_CASE("bytes that can be read are delivered though a write has failed first") {
  Log log;
  Peer* peer = nullptr;
  ListenOptions<> options;
  options.socket = keeping(log);
  Served world(std::move(options));
  peer = &world.peer;
  world.socket = Socket<>(log.socket);
  log.lines.clear();
  peer->send(pattern(64 << 10));
  peer->reset();
  REQUIRE(world.socket.write("anything") == -1);  // meets the reset before any read does
  world.settle();
  REQUIRE(log.input == pattern(64 << 10));
  REQUIRE(log.lines.back() == "close ECONNRESET/write");
}

TEST_CASE("the kernel may cut reads at any byte") {
  const std::string all = pattern(300);
  for (size_t cut = 1; cut < 100; ++cut) {
    Served world;
    for (int i = 0; i < 5; ++i) world.kernel.inject(Call::recv, {.limit = cut});
    world.peer.send(all);
    world.peer.shutdownWrite();
    world.settle();
    REQUIRE(world.log.input == all);
    REQUIRE(world.log.lines.back() == "close clean");
  }
}

TEST_CASE("EAGAIN from a descriptor that was told readable ends nothing") {
  Served world;
  world.kernel.fail(Call::recv, EAGAIN);
  world.peer.send("late");
  world.settle();
  REQUIRE(world.log.input == "late");
}

TEST_CASE("a firehose does not starve another socket of the same turn") {
  Log log;
  std::vector<std::string> order;
  std::optional<SocketHandle> firehose;
  ListenOptions<> options;
  options.socket.data = [&](SocketHandle socket, Bytes) {
    order.push_back(socket == *firehose ? "hose" : "ping");
  };
  options.socket.open = [&](SocketHandle socket) {
    if (!firehose) firehose = socket;
  };
  ReactorOptions reactorOptions;
  reactorOptions.readBudget = 2 * kReceiveBuffer;
  Served world(std::move(options), std::move(reactorOptions));
  Peer pinger = world.kernel.connect(80);
  world.settle();
  // What one end buffers waits to be read, what the other does follows as room is made.
  while (world.peer.send(pattern(10'000)) > 0) continue;
  pinger.send("ping");
  world.reactor.step();
  REQUIRE(order.size() >= 3);
  order.resize(3);
  REQUIRE(order == std::vector<std::string>{"hose", "hose", "ping"});
}

TEST_CASE("what the read budget left over comes soon, without a wait and without an edge") {
  ReactorOptions reactorOptions;
  reactorOptions.readBudget = 10'000;  // less than a buffer: one read a turn
  ListenOptions<> options;
  Served world(std::move(options), std::move(reactorOptions));
  world.kernel.buffers(1 << 20, 1 << 20);
  Peer peer = world.kernel.connect(80);
  world.settle();
  const size_t size = 4 * kReceiveBuffer + 5;
  REQUIRE(peer.send(pattern(size)) == size);
  world.reactor.step();
  REQUIRE(world.log.input.size() ==
          2 * kReceiveBuffer);  // its event and its place on the ready list
  REQUIRE(world.reactor.nextDeadline() == 0ms);
  world.reactor.step(1h);
  REQUIRE(world.kernel.lastTimeout() == 0);
  REQUIRE(world.log.input.size() == 3 * kReceiveBuffer);
  world.settle();
  REQUIRE(world.log.input == pattern(size));
}

TEST_CASE("pause holds back data until resume replays it") {
  Served world;
  world.socket.pause();
  world.peer.send("held");
  world.settle();
  REQUIRE(world.log.text() == "");
  world.socket.resume();
  REQUIRE(world.log.text() == "");  // not inside the call
  world.settle();
  REQUIRE(world.log.input == "held");
}

TEST_CASE("pause holds back end and close as well") {
  Served world;
  world.socket.pause();
  world.peer.send("held");
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.text() == "");
  world.socket.resume();
  world.settle();
  REQUIRE(world.log.text() == "data, end, close clean");
}

TEST_CASE("pause holds back a reset, and the data before it survives") {
  Served world;
  world.socket.pause();
  world.peer.send("held");
  world.peer.reset();
  world.settle();
  REQUIRE(world.log.text() == "");
  world.socket.resume();
  world.settle();
  REQUIRE(world.log.text() == "data, close ECONNRESET/read");
  REQUIRE(world.log.input == "held");
}

TEST_CASE("a paused socket whose peer is gone does not spin") {
  for (const Family family : {Family::ipv4, Family::unix}) {
    ListenOptions<> options;
    if (family == Family::unix) options.unix = "/run/test";
    Served world(std::move(options));
    world.socket.pause();
    world.peer.send("x");
    world.peer.close();
    world.settle();
    const uint64_t waits = world.kernel.calls(Call::wait);
    world.elapse(60s);
    REQUIRE(world.kernel.calls(Call::wait) - waits < 5);
  }
}

TEST_CASE("a half-open socket whose peer is gone does not spin") {
  for (const Family family : {Family::ipv4, Family::unix}) {
    ListenOptions<> options;
    options.allowHalfOpen = true;
    if (family == Family::unix) options.unix = "/run/test";
    Served world(std::move(options));
    world.peer.close();
    world.settle();
    REQUIRE(world.log.text() == "end");
    const uint64_t waits = world.kernel.calls(Call::wait);
    world.elapse(60s);
    REQUIRE(world.kernel.calls(Call::wait) - waits < 5);
  }
}

TEST_CASE("pause inside data stops the rest of what was told readable") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.data = [&](SocketHandle socket, Bytes bytes) {
    log.input += asText(bytes);
    socket.pause();
  };
  Served world(std::move(options));
  const size_t size = 2 * kReceiveBuffer;
  REQUIRE(world.peer.send(pattern(size)) == size);
  world.settle();
  REQUIRE(log.input.size() == kReceiveBuffer);
  world.elapse(1s);
  REQUIRE(log.input.size() == kReceiveBuffer);
  log.socket.resume();
  world.settle();
  REQUIRE(log.input == pattern(size));
}

TEST_CASE("pause and resume do not nest, and cost nothing when nothing waits") {
  Served world;
  world.socket.resume();
  world.socket.pause();
  world.socket.pause();
  world.socket.resume();
  const uint64_t reads = world.kernel.calls(Call::recv);
  world.settle();
  REQUIRE(world.kernel.calls(Call::recv) == reads);
  world.peer.send("x");
  world.settle();
  REQUIRE(world.log.text() == "data");
}

TEST_CASE("a paused peer is slowed down by its full buffers") {
  Served world;
  world.socket.pause();
  size_t taken = 0;
  while (const size_t now = world.peer.send(pattern(10'000))) taken += now;
  world.settle();
  REQUIRE(taken == 2 * (size_t{128} << 10));
  REQUIRE(world.peer.send("x") == 0);
  world.socket.resume();
  world.settle();
  REQUIRE(world.log.input.size() == taken);
}

TEST_CASE("shutdown(read) reads and drops, and neither data nor end fires any more") {
  ListenOptions<> options;
  options.allowHalfOpen = true;
  Served world(std::move(options));
  world.socket.shutdown(Side::read);
  REQUIRE(world.peer.send(pattern(100'000)) == 100'000);
  world.settle();
  REQUIRE(world.log.text() == "");
  REQUIRE(world.socket.bytesRead() == 100'000);
  REQUIRE(world.socket.write("still here") == 10);
  REQUIRE(world.peer.readAll() == "still here");
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.text() == "");
  REQUIRE(world.socket.readyState() == ReadyState::peerEnded);
}

TEST_CASE("shutdown(read) lets go of what a pause held") {
  Served world;
  world.socket.pause();
  world.peer.send("held");
  world.settle();
  world.socket.shutdown(Side::read);
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.text() == "close clean");
}

TEST_CASE("spurious events are harmless") {
  Served world;
  const uint64_t token = world.peer.token();
  for (uint32_t ready = 0; ready <= (os::kReadable | os::kEnded | os::kWritable); ++ready) {
    world.kernel.tell({.ready = ready, .token = token});
    world.settle();
  }
  REQUIRE(world.log.text() == "");
  world.peer.send("x");
  world.settle();
  REQUIRE(world.log.text() == "data");
  REQUIRE(world.socket.write("y") == 1);
}

TEST_CASE("events told twice are harmless") {
  Served world;
  world.peer.send("x");
  world.peer.shutdownWrite();
  world.kernel.duplicateEvents();
  world.settle();
  REQUIRE(world.log.text() == "data, end, close clean");
}

TEST_CASE("a wait that a signal interrupts is repeated") {
  Served world;
  world.kernel.fail(Call::wait, EINTR);
  world.peer.send("x");
  world.reactor.step();
  REQUIRE(world.log.text() == "");
  world.reactor.step();
  REQUIRE(world.log.text() == "data");
}

}  // namespace
}  // namespace warren::sim
