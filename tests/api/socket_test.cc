#include "warren/socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/poison.h"
#include "os/platform.h"
#include "support/catch.h"
#include "support/net.h"
#include "support/recorder.h"
#include "warren/array_buffer_sink.h"
#include "warren/reactor.h"

#if WARREN_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace warren {
namespace {

using namespace std::chrono_literals;
using test::Lines;
using test::RawSocket;
using test::Recorder;
using test::runUntil;
using test::TempDir;

constexpr size_t kMiB = size_t{1} << 20;

enum class Transport { tcp4, tcp6, unixPath };

// A socket under test on the server's side, its peer without warren.
template <class Data = Empty>
class Pair {
 public:
  // `adjust` may change the options, `small` gives the peer a small receive buffer.
  explicit Pair(Transport transport = Transport::tcp4,
                const std::function<void(ListenOptions<Data>&)>& adjust = {}) {
    ListenOptions<Data> options;
    if (transport == Transport::unixPath) {
      options.unix = dir_.path("socket");
    } else {
      options.hostname = transport == Transport::tcp4 ? "127.0.0.1" : "::1";
      options.port = 0;
    }
    options.socket = events.handlers<Data>("socket");
    if (adjust) adjust(options);
    // Whatever `open` does, the handle is to be had.
    options.socket.open = [this, open = options.socket.open](Socket<Data> opened) {
      socket = opened;
      if (open) open(opened);
    };
    listener = reactor.listen<Data>(std::move(options)).value();
    peer = transport == Transport::unixPath
               ? RawSocket::connectUnix(dir_.path("socket"))
               : RawSocket::connectTcp(static_cast<uint16_t>(listener.port()),
                                       transport == Transport::tcp4 ? "127.0.0.1" : "::1");
    runUntil(reactor, [&] { return socket.number() != 0; });
  }

  void until(const std::string& line) {
    INFO("waiting for: " << line);
    runUntil(reactor, [&] { return events.has("socket " + line); });
  }
  void turns(int count = 5) {
    while (count-- > 0) reactor.step();
  }
  // Everything the peer gets up to the FIN.
  std::string receiveAll() {
    std::string received;
    while (!peer.ended()) {
      received += peer.readSome();
      reactor.step();
    }
    return received;
  }

 private:
  TempDir dir_;

 public:
  Recorder events;
  Reactor reactor;
  Listener<Data> listener;
  Socket<Data> socket;
  RawSocket peer;
};

// Writes until the kernel takes no more, and gives what it took.
std::string fill(const SocketHandle& socket) {
  const std::vector<std::byte> block = test::pattern(kMiB, 7);
  std::string taken;
  for (;;) {
    const std::ptrdiff_t count = socket.write(block);
    REQUIRE(count >= 0);
    taken += asText(Bytes(block).first(static_cast<size_t>(count)));
    if (static_cast<size_t>(count) < block.size()) return taken;
  }
}

// --- sending -----------------------------------------------------------------------------------------

TEST_CASE("write gives the bytes to the kernel at once and counts them") {
  Pair<> pair;
  REQUIRE(pair.socket.write("hello") == 5);
  REQUIRE(pair.peer.readExactly(5) == "hello");
  REQUIRE(pair.socket.write("") == 0);
  REQUIRE(pair.socket.write(Bytes()) == 0);
  REQUIRE(pair.socket.bytesWritten() == 5);
  REQUIRE(pair.socket.unsentBytes() == 0);
}

TEST_CASE("send takes everything and delivers it in order, outside of a handler in the next turn") {
  Pair<> pair;
  REQUIRE(pair.socket.send("one "));
  REQUIRE(pair.socket.send("two "));
  REQUIRE(pair.socket.send(""));
  REQUIRE(pair.socket.unsentBytes() == 8);
  REQUIRE(pair.socket.bytesWritten() == 8);
  REQUIRE(pair.socket.write("three") == 5);  // what is queued goes first
  REQUIRE(pair.socket.unsentBytes() == 0);
  REQUIRE(pair.peer.readExactly(13) == "one two three");
  REQUIRE(pair.socket.send("four"));
  pair.reactor.step();
  REQUIRE(pair.peer.readExactly(4) == "four");
}

TEST_CASE("flush sends what is queued without waiting for the end of the handler") {
  Pair<> pair;
  REQUIRE(pair.socket.send("now"));
  pair.socket.flush();
  REQUIRE(pair.socket.unsentBytes() == 0);
  REQUIRE(pair.peer.readExactly(3) == "now");
}

TEST_CASE("everything sent in one handler leaves in one system call") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) {
    options.socket.data = [](auto socket, Bytes) {
      for (int i = 0; i < 100; ++i) socket.send("line\n");
    };
  });
  const uint64_t before = pair.reactor.stats().writes;
  pair.peer.sendAll("go");
  runUntil(pair.reactor, [&] { return pair.socket.bytesWritten() == 500; });
  REQUIRE(pair.peer.readExactly(500).substr(495) == "line\n");
  REQUIRE(pair.reactor.stats().writes - before == 1);
}

TEST_CASE("a cork gathers writes until its outermost guard ends") {
  Pair<> pair;
  const uint64_t before = pair.reactor.stats().writes;
  {
    const Cork outer = pair.socket.cork();
    {
      const Cork inner = pair.socket.cork();
      REQUIRE(pair.socket.write("a") == 1);
    }
    REQUIRE(pair.socket.write("b") == 1);
    REQUIRE(pair.reactor.stats().writes == before);
    REQUIRE(pair.socket.unsentBytes() == 2);
  }
  REQUIRE(pair.reactor.stats().writes == before + 1);
  REQUIRE(pair.peer.readExactly(2) == "ab");
}

TEST_CASE("a cork may outlive its socket") {
  Pair<> pair;
  std::optional<Cork> cork(pair.socket.cork());
  REQUIRE(pair.socket.write("a") == 1);
  pair.socket.close();
  REQUIRE(pair.socket.write("b") == -1);
  pair.turns();
  cork.reset();
  REQUIRE(pair.receiveAll() == "a");
}

TEST_CASE("write with a sink sends both of its halves and keeps the rest there") {
  Pair<> pair;
  ArrayBufferSink sink;
  REQUIRE(sink.write("hello "));
  REQUIRE(sink.write("world"));
  REQUIRE(pair.socket.write(sink) == 11);
  REQUIRE(sink.empty());
  REQUIRE(pair.peer.readExactly(11) == "hello world");

  const std::string taken = fill(pair.socket);
  REQUIRE(sink.write("rest"));
  REQUIRE(pair.socket.write(sink) == 0);
  REQUIRE(sink.size() == 4);
  REQUIRE(pair.peer.readExactly(taken.size()) == taken);
  pair.until("drain");
  REQUIRE(pair.socket.write(sink) == 4);
  REQUIRE(sink.empty());
  pair.socket.terminate();
  REQUIRE(pair.socket.write(sink) == -1);
}

TEST_CASE("send above the high-water mark says slow down, and drain says go on, once") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) { options.highWaterMark = 1000; });
  const std::string taken = fill(pair.socket);
  pair.turns();
  REQUIRE_FALSE(pair.events.has("socket drain"));
  REQUIRE_FALSE(pair.socket.send(std::string(1000, 'a') + "b"));
  REQUIRE(pair.socket.unsentBytes() == 1001);
  REQUIRE(pair.peer.readExactly(taken.size()) == taken);
  pair.until("drain");
  REQUIRE(pair.peer.readExactly(1001) == std::string(1000, 'a') + "b");
  pair.turns();
  REQUIRE(pair.events.count("socket drain") == 1);
  REQUIRE(pair.socket.send("c"));
  pair.turns();
  REQUIRE(pair.events.count("socket drain") == 1);
}

TEST_CASE("more than maxQueued closes the socket with an error that says so, and a reset") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) {
    options.highWaterMark = 1000;
    options.maxQueued = 5000;
  });
  fill(pair.socket);
  REQUIRE_FALSE(pair.socket.send(std::string(5000, 'a')));
  REQUIRE(pair.socket.readyState() == ReadyState::open);
  REQUIRE_FALSE(pair.socket.send("b"));
  REQUIRE(pair.events.lines().back() == "socket close tooMuch");
  REQUIRE(pair.events.error("socket").is(Usage::tooMuch));
  REQUIRE(pair.events.error("socket").message().find("maxQueued") != std::string::npos);
  REQUIRE(pair.socket.unsentBytes() == 5000);
  pair.turns();
  REQUIRE_THROWS_AS(pair.peer.readAll(), std::system_error);
}

TEST_CASE("end of more than maxQueued closes the same way") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) {
    options.highWaterMark = 1000;
    options.maxQueued = 5000;
  });
  fill(pair.socket);
  REQUIRE(pair.socket.end(std::string(5001, 'a')) == -1);
  REQUIRE(pair.events.of("socket") == Lines{"open", "close tooMuch"});
}

TEST_CASE("a paused reader gets all of a partial write, and the writer one drain") {
  for (const Transport transport : {Transport::tcp4, Transport::unixPath}) {
    INFO((transport == Transport::tcp4 ? "tcp" : "unix"));
    const std::vector<std::byte> bytes = test::pattern(32 * kMiB, 1);
    Pair<> pair(transport);
    const std::ptrdiff_t first = pair.socket.write(bytes);
    REQUIRE(first > 0);
    REQUIRE(first < static_cast<std::ptrdiff_t>(bytes.size()));
    REQUIRE(pair.socket.write("x") == 0);
    REQUIRE(pair.socket.write("x") == 0);
    REQUIRE(pair.socket.bytesWritten() == static_cast<uint64_t>(first));
    pair.turns();
    REQUIRE_FALSE(pair.events.has("socket drain"));

    std::string received = pair.peer.readExactly(static_cast<size_t>(first));
    pair.until("drain");
    pair.turns();
    REQUIRE(pair.events.count("socket drain") == 1);
    REQUIRE(pair.socket.end("tail") == 4);
    received += pair.receiveAll();
    REQUIRE(received.size() == static_cast<size_t>(first) + 4);
    const auto begin = Bytes(bytes).first(static_cast<size_t>(first));
    REQUIRE(test::hash(asBytes(received)) == test::hash(asBytes("tail"), test::hash(begin)));
    REQUIRE(pair.events.count("socket drain") == 1);
  }
}

TEST_CASE("a whole stream written from drain arrives, with one drain for each short write") {
  const std::vector<std::byte> bytes = test::pattern(16 * kMiB, 2);
  size_t offset = 0;
  uint64_t shortWrites = 0;
  const auto writeMore = [&](SocketHandle socket) {
    const std::ptrdiff_t count = socket.write(Bytes(bytes).subspan(offset));
    REQUIRE(count >= 0);
    offset += static_cast<size_t>(count);
    if (offset < bytes.size()) {
      ++shortWrites;
    } else {
      socket.end();
    }
  };
  Pair<> pair(Transport::tcp4, [&](ListenOptions<>& options) {
    options.socket.open = [&](auto socket) { writeMore(socket); };
    options.socket.drain = [&](auto socket) { writeMore(socket); };
  });
  const std::string received = pair.receiveAll();
  REQUIRE(test::hash(asBytes(received)) == test::hash(bytes));
  REQUIRE(pair.reactor.stats().drains == shortWrites);
  REQUIRE(shortWrites > 0);
}

TEST_CASE("a client that ends behind its request, as nc -N does, gets the whole answer") {
  const std::vector<std::byte> bytes = test::pattern(16 * kMiB, 2);
  size_t offset = 0;
  const auto writeMore = [&](SocketHandle socket) {
    const std::ptrdiff_t count = socket.write(Bytes(bytes).subspan(offset));
    REQUIRE(count >= 0);
    offset += static_cast<size_t>(count);
  };
  Pair<> pair(Transport::tcp4, [&](ListenOptions<>& options) {
    options.socket.data = [&](auto socket, Bytes) { writeMore(socket); };
    options.socket.drain = [&](auto socket) { writeMore(socket); };
  });
  pair.peer.sendAll("?");
  pair.peer.shutdownWrite();
  pair.until("end");
  REQUIRE(offset < bytes.size());
  const std::string received = pair.receiveAll();
  REQUIRE(test::hash(asBytes(received)) == test::hash(bytes));
  pair.until("close clean");
}

// --- end ---------------------------------------------------------------------------------------------

TEST_CASE("end delivers everything to a peer that reads late, with and without a drain handler") {
  const std::vector<std::byte> bytes = test::pattern(32 * kMiB, 3);
  for (const Transport transport : {Transport::tcp4, Transport::unixPath}) {
    for (const bool withDrain : {true, false}) {
      INFO((transport == Transport::tcp4 ? "tcp" : "unix") << ", drain handler: " << withDrain);
      Pair<> pair(transport, [&](ListenOptions<>& options) {
        if (!withDrain) options.socket.drain = {};
      });
      REQUIRE(pair.socket.end(bytes) == static_cast<std::ptrdiff_t>(bytes.size()));
      REQUIRE(pair.socket.readyState() == ReadyState::ended);
      REQUIRE(pair.socket.unsentBytes() > 0);
      pair.turns();
      const std::string received = pair.receiveAll();
      REQUIRE(received.size() == bytes.size());
      REQUIRE(test::hash(asBytes(received)) == test::hash(bytes));
      REQUIRE_FALSE(pair.events.has("socket close"));
      pair.peer.close();
      pair.until("close");
      REQUIRE(pair.events.of("socket") == Lines{"open", "end", "close clean"});
      REQUIRE(pair.socket.unsentBytes() == 0);
    }
  }
}

// The peer reads slowly and keeps sending: a close with its bytes unread would destroy ours.
void endsWhilePeerSends(bool byClose) {
  const std::vector<std::byte> bytes = test::pattern(8 * kMiB, 4);
  for (const Transport transport : {Transport::tcp4, Transport::unixPath}) {
    INFO((transport == Transport::tcp4 ? "tcp" : "unix"));
    Pair<> pair(transport);
    pair.peer.sendAll("before");
    pair.turns();
    REQUIRE(pair.socket.send(bytes) == (bytes.size() <= size_t{64} << 10));
    if (byClose) {
      pair.socket.close();
    } else {
      pair.socket.end();
    }
    std::string received;
    while (!pair.peer.ended()) {
      static_cast<void>(pair.peer.sendSome("x"));
      received += pair.peer.readSome();
      pair.reactor.step();
    }
    REQUIRE(received.size() == bytes.size());
    REQUIRE(test::hash(asBytes(received)) == test::hash(bytes));
    pair.peer.close();
    pair.until("close clean");
  }
}

TEST_CASE("end loses nothing to a slow peer that keeps sending") { endsWhilePeerSends(false); }

TEST_CASE("close loses nothing to a slow peer that keeps sending") { endsWhilePeerSends(true); }

TEST_CASE("after end input still comes to data, until the peer's FIN closes the socket") {
  Pair<> pair;
  REQUIRE(pair.socket.end("request") == 7);
  REQUIRE(pair.socket.readyState() == ReadyState::ended);
  REQUIRE(pair.receiveAll() == "request");
  pair.peer.sendAll("answer");
  pair.until("data answer");
  pair.peer.shutdownWrite();
  pair.until("close");
  REQUIRE(pair.events.of("socket") == Lines{"open", "data answer", "end", "close clean"});
  REQUIRE(pair.socket.readyState() == ReadyState::closed);
}

TEST_CASE("after end every further byte is refused, and a second end too") {
  Pair<> pair;
  REQUIRE(pair.socket.end() == 0);
  REQUIRE(pair.socket.write("x") == -1);
  REQUIRE_FALSE(pair.socket.send("x"));
  REQUIRE(pair.socket.end() == -1);
  REQUIRE(pair.socket.end("x") == -1);
  REQUIRE(pair.receiveAll().empty());
}

TEST_CASE("a silent peer is cut by the linger time after end, which close tells") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) { options.linger.timeout = 30ms; });
  REQUIRE(pair.socket.end("bye") == 3);
  const auto begin = std::chrono::steady_clock::now();
  pair.until("close");
  REQUIRE(std::chrono::steady_clock::now() - begin >= 30ms);
  REQUIRE(pair.events.of("socket") == Lines{"open", "close ETIMEDOUT"});
  REQUIRE(pair.events.error("socket").step() == Step::linger);
  REQUIRE(pair.peer.readExactly(3) == "bye");
}

TEST_CASE("an endless peer is cut by the linger bytes after end, which close tells") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) { options.linger.bytes = 100'000; });
  REQUIRE(pair.socket.end() == 0);
  const std::vector<std::byte> block = test::pattern(64 << 10, 5);
  for (int i = 0; i < 100 && !pair.events.has("socket close"); ++i) {
    static_cast<void>(pair.peer.sendSome(block));
    pair.turns(2);
  }
  REQUIRE(pair.events.has("socket close tooMuch"));
  REQUIRE(pair.events.error("socket").step() == Step::linger);
}

TEST_CASE("with allowHalfOpen an ended socket waits for its peer as long as it takes") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) {
    options.allowHalfOpen = true;
    options.linger.timeout = 1ms;
    options.linger.bytes = 1;
  });
  bool waited = false;
  REQUIRE(pair.socket.end("bye") == 3);
  REQUIRE(pair.reactor.after(30ms, [&] { waited = true; }));
  runUntil(pair.reactor, [&] { return waited; });
  pair.peer.sendAll("still here");
  pair.until("data still here");
  REQUIRE(pair.socket.readyState() == ReadyState::ended);
  REQUIRE(pair.receiveAll() == "bye");
  pair.peer.close();
  pair.until("close clean");
}

// --- half-open ---------------------------------------------------------------------------------------

TEST_CASE("the peer's FIN ends a socket by itself, after what was queued for it") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) {
    options.socket.end = [](auto socket) { socket.send("last words"); };
  });
  pair.peer.sendAll("x");
  pair.peer.shutdownWrite();
  pair.until("close");
  REQUIRE(pair.peer.readAll() == "last words");
  REQUIRE(pair.events.of("socket") == Lines{"open", "data x", "close clean"});
}

TEST_CASE("with allowHalfOpen our side stays open after the peer's FIN until end") {
  for (const Transport transport : {Transport::tcp4, Transport::tcp6, Transport::unixPath}) {
    Pair<> pair(transport, [](ListenOptions<>& options) { options.allowHalfOpen = true; });
    pair.peer.shutdownWrite();
    pair.until("end");
    pair.turns();
    REQUIRE(pair.events.of("socket") == Lines{"open", "end"});
    REQUIRE(pair.socket.readyState() == ReadyState::peerEnded);
    REQUIRE(pair.socket.write("one") == 3);
    REQUIRE(pair.socket.send("two"));
    REQUIRE(pair.socket.end("three") == 5);
    pair.until("close");
    REQUIRE(pair.peer.readAll() == "onetwothree");
    REQUIRE(pair.events.of("socket") == Lines{"open", "end", "close clean"});
  }
}

TEST_CASE("half-open and paused, a socket whose peer is gone does not keep the reactor busy") {
  Pair<> pair(Transport::unixPath, [](ListenOptions<>& options) { options.allowHalfOpen = true; });
  pair.socket.pause();
  pair.peer.sendAll("x");
  pair.peer.close();
  pair.turns();
  const uint64_t before = pair.reactor.stats().events + pair.reactor.stats().readyRuns;
  for (int turn = 0; turn < 20; ++turn) pair.reactor.step(1ms);
  REQUIRE(pair.reactor.stats().events + pair.reactor.stats().readyRuns - before <= 2);
  REQUIRE(pair.events.of("socket") == Lines{"open"});
  pair.socket.resume();
  pair.until("end");
  REQUIRE(pair.events.of("socket")[1] == "data x");
  pair.socket.end();
  pair.until("close");
}

TEST_CASE("shutdown of the write side is a FIN, and the socket goes on reading") {
  Pair<> pair;
  REQUIRE(pair.socket.send("bye"));
  pair.socket.shutdown();
  REQUIRE(pair.socket.readyState() == ReadyState::ended);
  REQUIRE(pair.socket.write("x") == -1);
  REQUIRE(pair.receiveAll() == "bye");
  pair.peer.sendAll("x");
  pair.until("data x");
  pair.peer.shutdownWrite();
  pair.until("close");
  REQUIRE(pair.events.of("socket") == Lines{"open", "data x", "end", "close clean"});
}

TEST_CASE("shutdown of the read side drops input from there on, without data or end") {
  Pair<> pair;
  pair.socket.shutdown(Side::read);
  pair.peer.sendAll("dropped");
  runUntil(pair.reactor, [&] { return pair.socket.bytesRead() == 7; });
  REQUIRE(pair.socket.write("still writing") == 13);
  REQUIRE(pair.peer.readExactly(13) == "still writing");
  pair.peer.shutdownWrite();
  pair.until("close");
  REQUIRE(pair.events.of("socket") == Lines{"open", "close clean"});
}

TEST_CASE("shutdown of both sides ends without another handler but close") {
  Pair<> pair;
  REQUIRE(pair.socket.send("bye"));
  pair.socket.shutdown(Side::both);
  pair.peer.sendAll("dropped");
  REQUIRE(pair.receiveAll() == "bye");
  pair.peer.close();
  pair.until("close");
  REQUIRE(pair.events.of("socket") == Lines{"open", "close clean"});
}

// --- close and terminate -----------------------------------------------------------------------------

TEST_CASE("close fires inside the call, and no handler after it") {
  Pair<> pair;
  REQUIRE(pair.socket.send("accepted"));
  pair.peer.sendAll("never heard of");
  pair.socket.close();
  REQUIRE(pair.events.of("socket") == Lines{"open", "close clean"});
  REQUIRE(pair.socket.readyState() == ReadyState::closed);
  REQUIRE(pair.receiveAll() == "accepted");
  pair.peer.sendAll("x");
  pair.peer.close();
  pair.socket.close();
  pair.socket.terminate();
  pair.listener.stop();
  REQUIRE(pair.reactor.run() == 0);  // not before the last byte is delivered
  REQUIRE(pair.events.of("socket") == Lines{"open", "close clean"});
}

TEST_CASE("a closed socket whose peer never ends is given up after the linger time") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) { options.linger.timeout = 30ms; });
  const size_t descriptors = test::openDescriptors();
  REQUIRE(pair.socket.send("bye"));
  pair.socket.close();
  runUntil(pair.reactor, [&] { return test::openDescriptors() == descriptors - 1; });
  REQUIRE(pair.events.of("socket") == Lines{"open", "close clean"});
}

TEST_CASE("a closed socket that never wrote is gone at the end of the turn") {
  Pair<> pair;
  const size_t descriptors = test::openDescriptors();
  pair.socket.close();
  pair.reactor.step();
  REQUIRE(test::openDescriptors() == descriptors - 1);
}

TEST_CASE("terminate resets the connection and drops what is unsent") {
  Pair<> pair;
  fill(pair.socket);
  REQUIRE_FALSE(pair.socket.send(std::string(100'000, 'x')));
  pair.socket.terminate();
  REQUIRE(pair.events.of("socket") == Lines{"open", "close clean"});
  REQUIRE(pair.socket.unsentBytes() == 100'000);
  pair.reactor.step();
  REQUIRE_THROWS_AS(pair.peer.readAll(), std::system_error);
}

TEST_CASE("terminate of a unix socket is an abrupt close") {
  Pair<> pair(Transport::unixPath);
  pair.socket.terminate();
  pair.reactor.step();
  REQUIRE(pair.peer.readAll().empty());
  REQUIRE(pair.events.of("socket") == Lines{"open", "close clean"});
}

TEST_CASE("terminate after end cuts a peer that does not read") {
  Pair<> pair;
  REQUIRE(pair.socket.end(test::pattern(32 * kMiB, 6)) > 0);
  pair.turns();
  pair.socket.terminate();
  REQUIRE(pair.events.of("socket") == Lines{"open", "close clean"});
  pair.reactor.step();
  REQUIRE_THROWS_AS(pair.peer.readAll(), std::system_error);
}

TEST_CASE("a peer's reset is told to close") {
  Pair<> pair;
  pair.peer.reset();
  pair.until("close");
  REQUIRE(pair.events.of("socket") == Lines{"open", "close ECONNRESET"});
  REQUIRE(pair.events.error("socket").step() == Step::read);
}

TEST_CASE("what a unix peer sent before it broke off is read before the close") {
  Pair<> pair(Transport::unixPath);
  REQUIRE(pair.socket.write("unread by the peer") > 0);  // which makes its close a reset
  pair.peer.sendAll("queued");
  pair.peer.close();
  pair.until("close");
  REQUIRE(pair.events.of("socket")[1] == "data queued");
  REQUIRE(pair.events.lines().back() == "socket close ECONNRESET");
}

TEST_CASE("what a peer sent before its reset is read although a write has failed first") {
  Pair<> pair(Transport::unixPath);
  pair.peer.sendAll("queued");
  pair.peer.close();
  REQUIRE(pair.socket.write("too late") == -1);
  REQUIRE(pair.socket.write("too late") == -1);
  REQUIRE_FALSE(pair.socket.send("too late"));
  pair.until("close");
  REQUIRE(pair.events.of("socket")[1] == "data queued");
  REQUIRE(pair.events.count("socket close") == 1);
  REQUIRE(pair.events.error("socket").isErrno(EPIPE));
}

TEST_CASE("a reset while output is queued closes with its reason and says what was not sent") {
  Pair<> pair;
  fill(pair.socket);
  REQUIRE_FALSE(pair.socket.send(std::string(100'000, 'x')));
  pair.peer.reset();
  pair.until("close");
  REQUIRE(pair.events.of("socket") == Lines{"open", "close ECONNRESET"});
  REQUIRE(pair.socket.unsentBytes() == 100'000);
}

// --- receiving ---------------------------------------------------------------------------------------

TEST_CASE("pause holds back data, end and close until resume") {
  for (const Transport transport : {Transport::tcp4, Transport::unixPath}) {
    Pair<> pair(transport);
    pair.socket.pause();
    pair.socket.pause();
    pair.peer.sendAll("held");
    pair.peer.shutdownWrite();
    pair.turns();
    REQUIRE(pair.events.of("socket") == Lines{"open"});
    REQUIRE(pair.socket.readyState() == ReadyState::open);
    pair.socket.resume();
    REQUIRE(pair.events.of("socket") == Lines{"open"});  // not inside the call
    pair.until("close");
    REQUIRE(pair.events.of("socket") == Lines{"open", "data held", "end", "close clean"});
    pair.socket.resume();
  }
}

TEST_CASE("pause in data takes effect before the next data") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) {
    options.socket.data = [](auto socket, Bytes) { socket.pause(); };
  });
  const std::vector<std::byte> bytes = test::pattern(kMiB, 8);
  size_t sent = 0;
  for (int i = 0; i < 20; ++i) sent += pair.peer.sendSome(Bytes(bytes).subspan(sent));
  runUntil(pair.reactor, [&] { return pair.socket.bytesRead() > 0; });
  const uint64_t read = pair.socket.bytesRead();
  pair.turns();
  REQUIRE(pair.socket.bytesRead() == read);
  REQUIRE(read <= size_t{64} << 10);
  pair.socket.resume();
  runUntil(pair.reactor, [&] { return pair.socket.bytesRead() > read; });
  pair.turns();
  REQUIRE(pair.socket.bytesRead() <= 2 * (size_t{64} << 10));
}

TEST_CASE("a paused socket still sends, ends and closes") {
  Pair<> pair;
  pair.socket.pause();
  REQUIRE(pair.socket.write("sent") == 4);
  REQUIRE(pair.peer.readExactly(4) == "sent");
  pair.socket.close();
  REQUIRE(pair.events.of("socket") == Lines{"open", "close clean"});
  REQUIRE(pair.receiveAll().empty());
}

// --- time --------------------------------------------------------------------------------------------

TEST_CASE("a timeout fires once, not early, and closes the socket") {
  Pair<> pair;
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(pair.socket.timeout(20ms));
  pair.until("close");
  REQUIRE(std::chrono::steady_clock::now() - begin >= 20ms);
  REQUIRE(pair.events.of("socket") == Lines{"open", "timeout", "close ETIMEDOUT"});
  REQUIRE(pair.events.error("socket").step() == Step::timeout);
}

TEST_CASE("without a timeout handler the timeout closes all the same") {
  Pair<> pair(Transport::unixPath, [](ListenOptions<>& options) { options.socket.timeout = {}; });
  REQUIRE(pair.socket.timeout(1ms));
  pair.until("close");
  REQUIRE(pair.events.of("socket") == Lines{"open", "close ETIMEDOUT"});
}

TEST_CASE("a timeout handler that arms it again keeps the socket") {
  int fired = 0;
  Pair<> pair(Transport::tcp4, [&](ListenOptions<>& options) {
    options.socket.timeout = [&](auto socket) {
      if (++fired < 3) REQUIRE(socket.timeout(2ms));
    };
  });
  REQUIRE(pair.socket.timeout(2ms));
  pair.until("close");
  REQUIRE(fired == 3);
}

TEST_CASE("a timeout of zero is off, and a new one replaces the old") {
  Pair<> pair;
  bool waited = false;
  REQUIRE(pair.socket.timeout(5ms));
  SECTION("off") { REQUIRE(pair.socket.timeout(0ms)); }
  SECTION("off by the other verb") { REQUIRE(pair.socket.idleTimeout(0ms)); }
  SECTION("later") { REQUIRE(pair.socket.timeout(1h)); }
  REQUIRE(pair.reactor.after(30ms, [&] { waited = true; }));
  runUntil(pair.reactor, [&] { return waited; });
  REQUIRE(pair.events.of("socket") == Lines{"open"});
}

TEST_CASE("an idle timeout is pushed back by traffic in either direction, a plain one is not") {
  Pair<> pair;
  std::string received;
  const auto chat = [&](std::chrono::milliseconds length) {
    const auto begin = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - begin < length) {
      pair.peer.sendAll("x");
      received += pair.peer.readSome();
      pair.reactor.step(2ms);
      if (pair.socket.write("y") < 0) return;
    }
  };
  SECTION("idle") {
    REQUIRE(pair.socket.idleTimeout(500ms));
    chat(700ms);
    REQUIRE_FALSE(pair.events.has("socket timeout"));
    REQUIRE(pair.socket.idleTimeout(20ms));
    pair.until("timeout");
  }
  SECTION("plain") {
    REQUIRE(pair.socket.timeout(50ms));
    chat(10s);
    REQUIRE(pair.events.has("socket timeout"));
  }
}

TEST_CASE("timeouts that mean nothing are refused and change nothing") {
  Pair<> pair;
  REQUIRE(pair.socket.timeout(-1ms).error().is(Usage::outOfRange));
  REQUIRE(pair.socket.timeout(std::chrono::hours::max()).error().is(Usage::outOfRange));
  REQUIRE(pair.socket.idleTimeout(-1ms).error().is(Usage::outOfRange));
  REQUIRE(pair.socket.timeout(-1ms).error().message().find("timeout is below zero") !=
          std::string::npos);
  REQUIRE(pair.socket.timeout(10ms));
  REQUIRE_FALSE(pair.socket.timeout(-1ms));
  pair.until("timeout");
  REQUIRE(pair.socket.timeout(1ms).error().is(Usage::closed));
  pair.reactor.step();
  REQUIRE(pair.socket.timeout(1ms).error().is(Usage::closed));
  REQUIRE(pair.socket.idleTimeout(1ms).error().is(Usage::closed));
}

// --- facts -------------------------------------------------------------------------------------------

TEST_CASE("both addresses are known in open, in close and after it as documented") {
  struct Seen {
    Address remote;
    Address local;
  };
  for (const Transport transport : {Transport::tcp4, Transport::tcp6, Transport::unixPath}) {
    std::map<std::string, Seen> seen;
    const auto note = [&](const std::string& when, SocketHandle socket) {
      seen[when] = {socket.remoteAddress(), socket.localAddress()};
    };
    Pair<> pair(transport, [&](ListenOptions<>& options) {
      options.socket.open = [&](auto socket) { note("open", socket); };
      options.socket.close = [&](auto socket, const Error&) { note("close", socket); };
    });
    pair.peer.reset();
    runUntil(pair.reactor, [&] { return seen.size() == 2; });
    Seen expected{Address::unix(), Address::unix()};
    if (transport != Transport::unixPath) {
      const std::string host = transport == Transport::tcp4 ? "127.0.0.1" : "::1";
      REQUIRE(seen["open"].remote.host() == host);
      REQUIRE(seen["open"].local == pair.listener.addresses()[0]);
      expected = seen["open"];
    }
    for (const char* const when : {"open", "close"}) {
      INFO(when);
      REQUIRE(seen[when].remote == expected.remote);
      REQUIRE(seen[when].local == expected.local);
    }
    pair.reactor.step();
    REQUIRE(pair.socket.remoteAddress() == expected.remote);
    REQUIRE(pair.socket.localAddress() == expected.local);
  }
}

TEST_CASE("bytes behind a message that brought a descriptor are delivered too") {
  Pair<> pair(Transport::unixPath);
  const int peer = pair.peer.release();
  std::array<char, 5> text{'h', 'e', 'l', 'l', 'o'};
  iovec part{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> room{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = room.data();
  message.msg_controllen = room.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof peer);
  std::memcpy(CMSG_DATA(rights), &peer, sizeof peer);
  REQUIRE(::sendmsg(peer, &message, 0) == 5);
  REQUIRE(::send(peer, "world", 5, 0) == 5);
  pair.until("data helloworld");
  ::close(peer);
}

#if WARREN_LINUX
TEST_CASE("bytes behind urgent data are delivered too") {
  Pair<> pair;
  const int peer = pair.peer.release();
  REQUIRE(::send(peer, "abc", 3, 0) == 3);
  REQUIRE(::send(peer, "!", 1, MSG_OOB) == 1);
  REQUIRE(::send(peer, "def", 3, 0) == 3);
  pair.until("data abcdef");
  ::close(peer);
}
#endif

#if WARREN_ASAN
TEST_CASE("a view that is kept after its handler is poisoned under AddressSanitizer") {
  Pair<> pair;
  Bytes kept;
  REQUIRE(pair.listener.reload({.data = [&](Socket<>, Bytes bytes) { kept = bytes; }}));
  pair.peer.sendAll("gone soon");
  runUntil(pair.reactor, [&] { return !kept.empty(); });
  REQUIRE(__asan_address_is_poisoned(kept.data()) == 1);
}
#endif

TEST_CASE("a pause that data has put off holds back the end behind it") {
  Pair<> pair;
  SocketHandlers<> handlers = pair.events.handlers("socket");
  handlers.data = [&](Socket<> socket, Bytes bytes) {
    pair.events.data("socket", bytes);
    pair.reactor.defer([socket] { socket.pause(); });
  };
  REQUIRE(pair.listener.reload(std::move(handlers)));
  pair.peer.sendAll("last");
  pair.peer.shutdownWrite();
  pair.until("data last");
  pair.turns();
  REQUIRE(pair.events.of("socket") == Lines{"open", "data last"});
  pair.socket.resume();
  pair.until("end");
}

TEST_CASE("a peer that reads no more closes the socket whose write it has refused") {
  Pair<> pair(Transport::unixPath);
  const int peer = pair.peer.release();
  ::shutdown(peer, SHUT_RD);
  REQUIRE(pair.socket.send("nobody reads this"));
  pair.until("close");
  REQUIRE(pair.events.of("socket") == Lines{"open", "close EPIPE"});
  ::close(peer);
}

TEST_CASE("an idle half-open socket hears of its peer's reset") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) { options.allowHalfOpen = true; });
  pair.peer.shutdownWrite();
  pair.until("end");
  pair.peer.reset();
  pair.until("close");
  REQUIRE(pair.events.error("socket"));
}

TEST_CASE("a local address that was not asked for before the close is not known after it") {
  Pair<> pair;
  const Address remote = pair.socket.remoteAddress();
  pair.socket.close();
  pair.reactor.step();
  REQUIRE(pair.socket.localAddress() == Address());
  REQUIRE(pair.socket.remoteAddress() == remote);
}

TEST_CASE("readyState tells each stage") {
  Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) { options.allowHalfOpen = true; });
  REQUIRE(Socket<>().readyState() == ReadyState::closed);
  REQUIRE(pair.socket.readyState() == ReadyState::open);
  REQUIRE(pair.socket);
  SECTION("we end first") {
    REQUIRE(pair.socket.end() == 0);
    REQUIRE(pair.socket.readyState() == ReadyState::ended);
    pair.turns();
    REQUIRE(pair.socket.readyState() == ReadyState::ended);
    pair.peer.close();
  }
  SECTION("the peer ends first") {
    pair.peer.shutdownWrite();
    pair.until("end");
    REQUIRE(pair.socket.readyState() == ReadyState::peerEnded);
    REQUIRE(pair.socket.end() == 0);
  }
  pair.until("close");
  REQUIRE(pair.socket.readyState() == ReadyState::closed);
  REQUIRE_FALSE(pair.socket);
}

TEST_CASE("byte counts answer in close and after it") {
  std::vector<uint64_t> inClose;
  Pair<> pair(Transport::tcp4, [&](ListenOptions<>& options) {
    options.socket.close = [&](auto socket, const Error&) {
      inClose = {socket.bytesWritten(), socket.bytesRead(), socket.unsentBytes()};
    };
  });
  pair.peer.sendAll("seven..");
  runUntil(pair.reactor, [&] { return pair.socket.bytesRead() == 7; });
  const uint64_t filled = fill(pair.socket).size();
  pair.socket.send("queued");
  pair.socket.terminate();
  const std::vector<uint64_t> expected{filled + 6, 7, 6};
  REQUIRE(inClose == expected);
  pair.turns();
  REQUIRE(pair.socket.bytesWritten() == expected[0]);
  REQUIRE(pair.socket.bytesRead() == expected[1]);
  REQUIRE(pair.socket.unsentBytes() == expected[2]);
}

TEST_CASE("setNoDelay and setKeepAlive work on open TCP sockets only") {
  {
    Pair<> pair;
    REQUIRE(pair.socket.setNoDelay());
    REQUIRE(pair.socket.setNoDelay(false));
    REQUIRE(pair.socket.setKeepAlive());
    REQUIRE(pair.socket.setKeepAlive(true, 1ms));  // rounded up to a second
    REQUIRE(pair.socket.setKeepAlive(true, 30s));
    REQUIRE(pair.socket.setKeepAlive(false));
    REQUIRE_FALSE(pair.socket.setKeepAlive(true, -1s));
    REQUIRE_FALSE(pair.socket.setKeepAlive(true, std::chrono::hours(1'000'000)));
    pair.socket.close();
    REQUIRE_FALSE(pair.socket.setNoDelay());
    REQUIRE_FALSE(pair.socket.setKeepAlive());
  }
  Pair<> pair(Transport::unixPath);
  REQUIRE_FALSE(pair.socket.setNoDelay());
  REQUIRE_FALSE(pair.socket.setKeepAlive());
}

TEST_CASE("a socket knows its listener, stopped or not, until it is closed") {
  Pair<> pair;
  REQUIRE(pair.socket.listener() == pair.listener);
  pair.listener.stop();
  REQUIRE(pair.socket.listener() == pair.listener);
  REQUIRE(pair.socket.listener().port() == pair.listener.port());
  pair.socket.close();
  REQUIRE(pair.socket.listener() == Listener<>());
}

TEST_CASE("no two sockets have the same number") {
  Reactor reactor;
  std::set<uint64_t> numbers;
  size_t opened = 0;
  auto listener = reactor
                      .listen({.hostname = "127.0.0.1",
                               .port = 0,
                               .socket = {.open =
                                              [&](auto socket) {
                                                ++opened;
                                                numbers.insert(socket.number());
                                                socket.terminate();
                                              },
                                          .data = [](auto, Bytes) {}}})
                      .value();
  for (size_t i = 1; i <= 300; ++i) {
    RawSocket client = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
    runUntil(reactor, [&] { return opened == i; });
  }
  REQUIRE(numbers.size() == 300);
}

TEST_CASE("a socket keeps run going unless it is unreferenced") {
  Pair<> pair;
  pair.listener.stop();
  REQUIRE(pair.reactor.step());
  pair.socket.unref();
  pair.socket.unref();
  REQUIRE(pair.reactor.run() == 0);
  REQUIRE(pair.socket.readyState() == ReadyState::open);
  pair.socket.ref();
  pair.socket.ref();
  REQUIRE(pair.reactor.step());
  pair.socket.unref();
  pair.socket.close();
  REQUIRE(pair.reactor.run() == 0);
  pair.socket.ref();
  REQUIRE_FALSE(pair.reactor.step());
}

// --- handles that outlive their socket ---------------------------------------------------------------

TEST_CASE("a copied handle of a closed socket is answered and touches nothing") {
  Pair<std::string> pair;
  const Socket<std::string> copy = pair.socket;
  pair.socket.data() = "mine";
  REQUIRE(copy.data() == "mine");
  pair.peer.reset();
  pair.until("close");
  pair.reactor.step();
  REQUIRE(copy.write("x") == -1);
  REQUIRE_FALSE(copy.send("x"));
  REQUIRE(copy.end("x") == -1);
  REQUIRE(copy.findData() == nullptr);
  REQUIRE(copy.readyState() == ReadyState::closed);
  REQUIRE_FALSE(copy.listener().listening());
  REQUIRE(copy.reload({.data = [](auto, Bytes) {}}).error().is(Usage::closed));
  copy.close();
  copy.terminate();
  copy.shutdown(Side::both);
  copy.pause();
  copy.resume();
  copy.flush();
  copy.ref();
  copy.unref();
  { const Cork cork = copy.cork(); }
#if WARREN_LIBRARY_EXCEPTIONS
  REQUIRE_THROWS_AS(copy.data(), BadResult);
#endif
  pair.turns();
  REQUIRE(pair.events.count("socket close") == 1);
}

TEST_CASE("a handle never reaches the socket that has its slot now") {
  Pair<std::string> pair;
  const Socket<std::string> old = pair.socket;
  old.terminate();
  pair.reactor.step();
  // Slots are used anew in turn, so there must be enough of them to come round.
  RawSocket client;
  const auto slotOf = [](const SocketHandle& socket) { return socket.number() & 0xffffffff; };
  for (int i = 0; i < 5000 && (slotOf(pair.socket) != slotOf(old) || pair.socket == old); ++i) {
    if (pair.socket != old) pair.socket.terminate();
    const Socket<std::string> before = pair.socket;
    client = RawSocket::connectTcp(static_cast<uint16_t>(pair.listener.port()));
    runUntil(pair.reactor, [&] { return pair.socket != before; });
  }
  REQUIRE(slotOf(pair.socket) == slotOf(old));
  REQUIRE(pair.socket != old);

  pair.socket.data() = "the new one";
  REQUIRE(old.write("x") == -1);
  REQUIRE_FALSE(old.send("x"));
  REQUIRE(old.end("x") == -1);
  old.close();
  old.terminate();
  old.pause();
  old.unref();
  old.shutdown(Side::both);
  REQUIRE(old.timeout(1ms).error().is(Usage::closed));
  REQUIRE(old.findData() == nullptr);
  REQUIRE(old.bytesWritten() == 0);
  REQUIRE(old.remoteAddress() == Address());
  pair.turns();
  REQUIRE(pair.socket.readyState() == ReadyState::open);
  REQUIRE(pair.socket.data() == "the new one");
  REQUIRE(pair.socket.bytesWritten() == 0);
  REQUIRE(pair.socket.write("for the new one") == 15);
  REQUIRE(client.readExactly(15) == "for the new one");
}

TEST_CASE("data lives until close has returned") {
  struct Watched {
    std::shared_ptr<int> alive = std::make_shared<int>(1);
  };
  std::weak_ptr<int> watch;
  bool aliveInClose = false;
  Pair<Watched> pair(Transport::tcp4, [&](ListenOptions<Watched>& options) {
    options.data.alive.reset();
    options.socket.close = [&](auto socket, const Error&) {
      aliveInClose = socket.findData() != nullptr && !watch.expired();
    };
  });
  pair.socket.data().alive = std::make_shared<int>(2);
  watch = pair.socket.data().alive;
  SECTION("terminated") { pair.socket.terminate(); }
  SECTION("closed, with bytes to deliver") {
    REQUIRE_FALSE(pair.socket.send(test::pattern(kMiB * 8, 9)));
    pair.socket.close();
  }
  REQUIRE(aliveInClose);
  pair.reactor.step();
  REQUIRE(watch.expired());
  REQUIRE(pair.socket.findData() == nullptr);
}

// --- reload ------------------------------------------------------------------------------------------

TEST_CASE("reload inside a handler takes effect with the next event, for all of the listener") {
  Pair<> pair;
  Recorder& events = pair.events;
  SocketHandlers<> first;
  first.data = [&](auto socket, Bytes) {
    events.note("first", "data");
    REQUIRE(socket.reload(events.handlers("second")));
    events.note("first", "goes on");
  };
  REQUIRE(pair.socket.reload(first));
  pair.peer.sendAll("x");
  runUntil(pair.reactor, [&] { return events.has("first goes on"); });
  pair.peer.close();
  runUntil(pair.reactor, [&] { return events.has("second close"); });
  REQUIRE(events.lines() ==
          Lines{"socket open", "first data", "first goes on", "second end", "second close clean"});
}

TEST_CASE("reload with a table that could do nothing is refused") {
  Pair<> pair;
  REQUIRE(pair.socket.reload({}).error().is(Usage::missing));
  pair.peer.sendAll("x");
  pair.until("data x");
}

TEST_CASE("handlers that a new table lacks are gone") {
  Pair<> pair;
  REQUIRE(pair.socket.reload({.drain = [](auto) {}}));
  pair.peer.sendAll("x");
  pair.peer.close();
  runUntil(pair.reactor, [&] { return pair.socket.readyState() == ReadyState::closed; });
  REQUIRE(pair.events.lines() == Lines{"socket open"});
}

// --- exceptions --------------------------------------------------------------------------------------

#if WARREN_LIBRARY_EXCEPTIONS

// A table in which the handler of this name throws, and all others note.
SocketHandlers<> throwing(Recorder& events, const std::string& which) {
  SocketHandlers<> table = events.handlers("socket");
  const auto fail = [&events, which](auto&&...) {
    events.note("socket", which);
    throw std::runtime_error(which + " failed");
  };
  if (which == "open") table.open = fail;
  if (which == "data") table.data = fail;
  if (which == "drain") table.drain = fail;
  if (which == "end") table.end = fail;
  if (which == "close") table.close = fail;
  if (which == "timeout") table.timeout = fail;
  return table;
}

// Makes each of the handlers happen.
void provoke(Pair<>& pair, const std::string& which) {
  if (which == "data") pair.peer.sendAll("x");
  if (which == "drain") {
    const std::string taken = fill(pair.socket);
    pair.peer.readExactly(taken.size());
  }
  if (which == "end") pair.peer.shutdownWrite();
  if (which == "close") pair.peer.reset();
  if (which == "timeout") REQUIRE(pair.socket.timeout(1ms));
}

TEST_CASE("what a handler throws reaches the error handler of its socket") {
  for (const char* const which : {"open", "data", "drain", "end", "close", "timeout"}) {
    INFO(which);
    std::string thrown;
    Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) { options.allowHalfOpen = true; });
    SocketHandlers<> table = throwing(pair.events, which);
    table.error = [&](auto, const Error& error) {
      pair.events.note("socket", "error", error);
      REQUIRE(error.origin() == Origin::handler);
      REQUIRE(error.message().find(which) != std::string::npos);
      try {
        std::rethrow_exception(error.exception());
      } catch (const std::runtime_error& caught) {
        thrown = caught.what();
      }
    };
    REQUIRE(pair.listener.reload(table));
    RawSocket another;
    if (std::string(which) == "open") {
      another = RawSocket::connectTcp(static_cast<uint16_t>(pair.listener.port()));
    }
    provoke(pair, which);
    pair.until("error");
    REQUIRE(thrown == std::string(which) + " failed");
    // The socket goes on, unless what happened ends it anyway.
    if (std::string(which) == "close") {
      REQUIRE(pair.socket.readyState() == ReadyState::closed);
    } else if (std::string(which) == "timeout") {
      REQUIRE(pair.events.lines().back() == "socket close ETIMEDOUT");
    } else {
      REQUIRE(pair.socket.write("still here") == 10);
    }
  }
}

TEST_CASE("what a handler throws leaves run without an error handler, and run goes on") {
  for (const char* const which : {"open", "data", "drain", "end", "close", "timeout"}) {
    INFO(which);
    Pair<> pair(Transport::tcp4, [](ListenOptions<>& options) { options.allowHalfOpen = true; });
    Recorder& events = pair.events;
    auto bystander = RawSocket::connectTcp(static_cast<uint16_t>(pair.listener.port()));
    runUntil(pair.reactor, [&] { return events.count("socket open") == 2; });
    SocketHandlers<> table = throwing(events, which);
    table.error = {};
    REQUIRE(pair.listener.reload(table));
    RawSocket another;
    if (std::string(which) == "open") {
      another = RawSocket::connectTcp(static_cast<uint16_t>(pair.listener.port()));
    }
    std::swap(pair.peer, bystander);
    provoke(pair, which);
    REQUIRE_THROWS_WITH(pair.reactor.run(), std::string(which) + " failed");

    // It can be called again, and every socket is still there.
    REQUIRE(pair.listener.reload(events.handlers("after")));
    bystander.sendAll("hello");
    runUntil(pair.reactor, [&] { return events.has("after data hello"); });
  }
}

TEST_CASE("what connectError throws goes the same two ways") {
  const int port = test::deadPort();
  Reactor reactor;
  std::string told;
  ConnectOptions<> options{
      .hostname = "127.0.0.1",
      .port = port,
      .socket = {.data = [](auto, Bytes) {},
                 .connectError = [](auto, const Error&) { throw std::runtime_error("oh"); }}};
  REQUIRE(reactor.connect(options));
  REQUIRE_THROWS_WITH(reactor.run(), "oh");
  REQUIRE(reactor.run() == 0);
  options.socket.error = [&](auto, const Error& error) { told = error.message(); };
  REQUIRE(reactor.connect(options));
  REQUIRE(reactor.run() == 0);
  REQUIRE(told.find("oh") != std::string::npos);
}

TEST_CASE("an error handler that throws itself ends in run, once for each") {
  Pair<> pair;
  SocketHandlers<> table = throwing(pair.events, "data");
  table.error = [](auto, const Error&) { throw std::runtime_error("worse"); };
  REQUIRE(pair.listener.reload(table));
  pair.peer.sendAll("x");
  REQUIRE_THROWS_WITH(pair.reactor.run(), "worse");
  pair.peer.sendAll("x");
  REQUIRE_THROWS_WITH(pair.reactor.run(), "worse");
  pair.listener.stop(true);
  REQUIRE(pair.reactor.run() == 0);
}

TEST_CASE("of several exceptions in one turn none is lost") {
  Reactor reactor;
  reactor.defer([] { throw std::runtime_error("first"); });
  reactor.defer([] { throw std::runtime_error("second"); });
  bool third = false;
  reactor.defer([&] { third = true; });
  REQUIRE_THROWS_WITH(reactor.run(), "first");
  REQUIRE(third);
  REQUIRE_THROWS_WITH(reactor.run(), "second");
  REQUIRE(reactor.run() == 0);
}

TEST_CASE("something thrown that is no std::exception is told too") {
  Pair<> pair;
  SocketHandlers<> table = pair.events.handlers("socket");
  table.data = [](auto, Bytes) { throw 5; };
  REQUIRE(pair.listener.reload(table));
  pair.peer.sendAll("x");
  pair.until("error");
  REQUIRE_FALSE(pair.events.error("socket").message().empty());
}

TEST_CASE("Data whose copying throws turns the client away and leaves run") {
  struct Fragile {
    Fragile() = default;
    Fragile(const Fragile& other) : fails(other.fails) {
      if (fails) throw std::runtime_error("no copy");
    }
    Fragile(Fragile&&) = default;
    bool fails = false;
  };
  Reactor reactor;
  int opened = 0;
  ListenOptions<Fragile> options;
  options.hostname = "127.0.0.1";
  options.port = 0;
  options.socket.open = [&](auto) { ++opened; };
  options.socket.data = [](auto, Bytes) {};
  options.data.fails = true;
  auto listener = reactor.listen<Fragile>(std::move(options)).value();
  RawSocket client = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  REQUIRE_THROWS_WITH(reactor.run(), "no copy");
  REQUIRE(client.readAll().empty());
  REQUIRE(opened == 0);
  REQUIRE(listener.connectionCount() == 0);
  listener.data().fails = false;
  RawSocket second = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  runUntil(reactor, [&] { return opened == 1; });
}

TEST_CASE("Data whose copying throws makes connect fail with what it threw, and run goes on") {
  struct Fragile {
    Fragile() = default;
    Fragile(const Fragile&) { throw std::runtime_error("no copy"); }
    Fragile(Fragile&&) = default;
  };
  Reactor reactor;
  ConnectOptions<Fragile> options;
  options.hostname = "127.0.0.1";
  options.port = 1;
  options.socket.data = [](auto, Bytes) {};
  const auto socket = reactor.connect<Fragile>(std::move(options));
  REQUIRE(socket.error().origin() == Origin::handler);
  REQUIRE_THROWS_WITH(std::rethrow_exception(socket.error().exception()), "no copy");
  REQUIRE(reactor.run() == 0);
}

#endif  // WARREN_LIBRARY_EXCEPTIONS

}  // namespace
}  // namespace warren
