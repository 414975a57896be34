// Much of everything: bytes, connections, messages.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/allocations.h"
#include "support/catch.h"
#include "support/net.h"
#include "warren/warren.h"

namespace warren {
namespace {

using namespace std::chrono_literals;
using test::runUntil;

// Echoes without ever holding more than one rest, and does not read while it has one.
struct Rest {
  std::vector<std::byte> bytes;
};

void sendBack(Socket<Rest> socket, Bytes bytes) {
  const std::ptrdiff_t taken = socket.write(bytes);
  if (taken < 0 || static_cast<size_t>(taken) == bytes.size()) return;
  const Bytes rest = bytes.subspan(static_cast<size_t>(taken));
  socket.data().bytes.assign(rest.begin(), rest.end());
  socket.pause();
}

SocketHandlers<Rest> echo() {
  return {.data = sendBack, .drain = [](Socket<Rest> socket) {
            const std::vector<std::byte> rest = std::exchange(socket.data().bytes, {});
            socket.resume();
            sendBack(socket, rest);
          }};
}

// Sends `total` bytes to an echo and reads them back slowly: it pauses after every chunk for a turn.
struct SlowReader {
  SlowReader(size_t size, uint64_t seed) : bytes(test::pattern(size, seed)) {}

  void push(Socket<> socket) {
    while (sent < bytes.size()) {
      const std::ptrdiff_t taken = socket.write(Bytes(bytes).subspan(sent));
      if (taken <= 0) return;
      sent += static_cast<size_t>(taken);
    }
    socket.end();
  }

  SocketHandlers<> handlers(Reactor& reactor) {
    return {
        .open = [this](Socket<> socket) { push(socket); },
        .data =
            [this, &reactor](Socket<> socket, Bytes chunk) {
              received += chunk.size();
              hash = test::hash(chunk, hash);
              largest = std::max(largest, chunk.size());
              socket.pause();
              reactor.post([socket] { socket.resume(); });
            },
        .drain = [this](Socket<> socket) { push(socket); },
        .close =
            [this](Socket<>, const Error& error) {
              clean = !error;
              closed = true;
            },
    };
  }

  const std::vector<std::byte> bytes;
  size_t sent = 0;
  size_t received = 0;
  size_t largest = 0;
  uint64_t hash = test::hash({});
  bool closed = false;
  bool clean = false;
};

void echoSlowly(bool onUnix) {
  constexpr size_t kSize = size_t{64} << 20;
  test::TempDir folder;
  Reactor reactor;
  ListenOptions<Rest> listening;
  ConnectOptions<> connecting;
  if (onUnix) {
    listening.unix = connecting.unix = folder.path("s");
  } else {
    listening.hostname = connecting.hostname = "127.0.0.1";
    listening.port = 0;
  }
  listening.socket = echo();
  // Both ends are finished before they are all read: the reader asks for time by half-open.
  listening.allowHalfOpen = false;
  connecting.allowHalfOpen = true;
  auto listener = reactor.listen(std::move(listening)).value();
  SlowReader reader(kSize, 7);
  connecting.socket = reader.handlers(reactor);
  if (!onUnix) connecting.port = listener.port();
  reactor.connect(std::move(connecting)).value();

  size_t lastReceived = 0;
  while (!reader.closed) {
    runUntil(reactor, [&] { return reader.closed || reader.received >= lastReceived + (1 << 20); });
    lastReceived = reader.received;
  }
  REQUIRE(reader.clean);
  REQUIRE(reader.received == kSize);
  REQUIRE(reader.hash == test::hash(reader.bytes));
}

// A client that says "x", hears it and closes.
SocketHandlers<> oneWord(size_t& closed) {
  return {
      .open = [](Socket<> socket) { socket.send("x"); },
      .data = [](Socket<> socket, Bytes) { socket.end(); },
      .close = [&closed](Socket<>, const Error&) { ++closed; },
      .connectError = [](Socket<>, const Error& error) { FAIL(error.message()); },
  };
}

void wave(Reactor& reactor, int port, size_t count) {
  size_t closed = 0;
  const SocketHandlers<> handlers = oneWord(closed);
  for (size_t i = 0; i < count; ++i) {
    reactor.connect<>({.hostname = "127.0.0.1", .port = port, .socket = handlers}).value();
  }
  runUntil(reactor, [&] { return closed == count && reactor.stats().sockets == 0; });
}

SocketHandlers<> answer() {
  return {.data = [](Socket<> socket, Bytes bytes) { socket.send(bytes); }};
}

}  // namespace

TEST_CASE("64 MiB come back whole through a slow reader on tcp") { echoSlowly(false); }

TEST_CASE("64 MiB come back whole through a slow reader on a unix socket") { echoSlowly(true); }

TEST_CASE("10,000 connections come and go in waves, and leave no descriptor and no memory") {
  Reactor reactor;
  auto listener =
      reactor.listen<>({.hostname = "127.0.0.1", .port = 0, .socket = answer()}).value();
  wave(reactor, listener.port(), 200);
  wave(reactor, listener.port(), 200);
  const size_t descriptors = test::openDescriptors();
  const size_t memory = reactor.stats().memoryBytes;
  for (int i = 2; i < 50; ++i) wave(reactor, listener.port(), 200);
  REQUIRE(test::openDescriptors() == descriptors);
  REQUIRE(reactor.stats().memoryBytes == memory);
  REQUIRE(reactor.stats().accepted == 10'000);
  REQUIRE(listener.connectionCount() == 0);
}

TEST_CASE("a message that is echoed allocates nothing") {
  Reactor reactor;
  auto listener =
      reactor.listen<>({.hostname = "127.0.0.1", .port = 0, .socket = answer()}).value();
  test::RawSocket peer = test::RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  const auto roundTrip = [&](const std::string& text) {
    peer.sendAll(text);
    std::string back;
    while (back.size() < text.size()) {
      reactor.step(100ms);
      back += peer.readSome();
    }
    return back == text;
  };
  const std::string text(60, 'm');
  for (int i = 0; i < 100; ++i) REQUIRE(roundTrip(text));
  const uint64_t writes = reactor.stats().writes;
  const uint64_t reads = reactor.stats().reads;

  // The test's own share: what readSome and the strings take is counted without warren first.
  uint64_t inTurns = 0;
  for (int i = 0; i < 1000; ++i) {
    peer.sendAll(text);
    size_t back = 0;
    while (back < text.size()) {
      const uint64_t before = test::allocations();
      reactor.step();
      inTurns += test::allocations() - before;
      back += peer.readSome().size();
    }
  }
  REQUIRE(inTurns == 0);
  REQUIRE(reactor.stats().writes - writes == 1000);
  REQUIRE(reactor.stats().reads - reads == 1000);
}

TEST_CASE("a connection that is accepted and closed allocates nothing once there were some") {
  Reactor reactor;
  auto listener =
      reactor.listen<>({.hostname = "127.0.0.1", .port = 0, .socket = answer()}).value();
  uint64_t inTurns = 0;
  const auto visit = [&] {
    test::RawSocket peer = test::RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
    peer.sendAll("x");
    peer.shutdownWrite();
    while (!peer.ended()) {
      const uint64_t before = test::allocations();
      reactor.step();
      inTurns += test::allocations() - before;
      peer.readSome();
    }
  };
  for (int i = 0; i < 200; ++i) visit();
  inTurns = 0;
  for (int i = 0; i < 500; ++i) visit();
  REQUIRE(inTurns == 0);
}

TEST_CASE("an idle plain socket costs at most 96 bytes") {
  Reactor reactor;
  auto listener =
      reactor.listen<>({.hostname = "127.0.0.1", .port = 0, .socket = answer()}).value();
  const size_t before = reactor.stats().memoryBytes;
  constexpr size_t kCount = 1024;
  std::vector<test::RawSocket> peers;
  for (size_t i = 0; i < kCount; ++i) {
    peers.push_back(test::RawSocket::connectTcp(static_cast<uint16_t>(listener.port())));
    if (i % 64 == 63) runUntil(reactor, [&] { return listener.connectionCount() == i + 1; });
  }
  REQUIRE(listener.connectionCount() == kCount);
  const size_t each = (reactor.stats().memoryBytes - before) / kCount;
  INFO("bytes for each: " << each);
  REQUIRE(each <= 96);  // 88 of the connection, 4 of the free list, its part of the directory
}

TEST_CASE("a reload with many sockets is one swap of one table") {
  Reactor reactor;
  auto listener =
      reactor.listen<>({.hostname = "127.0.0.1", .port = 0, .socket = answer()}).value();
  const auto allocationsOfReload = [&] {
    SocketHandlers<> table = answer();
    const uint64_t before = test::allocations();
    REQUIRE(listener.reload(std::move(table)));
    const uint64_t count = test::allocations() - before;
    reactor.step();
    return count;
  };
  allocationsOfReload();
  const uint64_t withNone = allocationsOfReload();
  std::vector<test::RawSocket> peers;
  for (int i = 0; i < 300; ++i) {
    peers.push_back(test::RawSocket::connectTcp(static_cast<uint16_t>(listener.port())));
  }
  runUntil(reactor, [&] { return listener.connectionCount() == peers.size(); });
  REQUIRE(allocationsOfReload() == withNone);
}

}  // namespace warren
