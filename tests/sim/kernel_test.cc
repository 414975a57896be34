// The simulated kernel's own promises: what the other tests of this directory stand on.
#include "kernel.h"

#include <array>
#include <cerrno>

#include "support/catch.h"

namespace warren::sim {
namespace {

using namespace std::chrono_literals;
using os::Event;
using os::Poller;
using os::Watch;
namespace sys = os::sys;

constexpr uint64_t kToken = 7;

std::string readFrom(int fd, size_t most = 65536) {
  std::string text(most, '\0');
  const sys::Answer count = sys::recv(fd, std::as_writable_bytes(std::span(text)));
  text.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return text;
}

sys::Answer recvAnswer(int fd) {
  std::array<std::byte, 64> into;
  return sys::recv(fd, into);
}

// One connected descriptor in a poller, and its peer.
struct Pair {
  Kernel kernel;
  Poller poller = Poller::make().value();
  int fd = -1;
  Peer peer;

  explicit Pair(Family family = Family::ipv4) {
    kernel.readiness(Readiness::epoll);  // poller_test.cc asks the other too
    std::tie(fd, peer) = kernel.connectedPair(family);
    poller.add(fd, kToken, Watch::stream).value();
    poller.wait(0);
  }
  // What a wait tells, as letters: r, w, e.
  std::string look() {
    std::string told;
    for (const Event& event : poller.wait(0)) {
      told += std::string(event.is(os::kReadable) ? "r" : "") +
              (event.is(os::kWritable) ? "w" : "") + (event.is(os::kEnded) ? "e" : "") + " ";
    }
    return told;
  }
};

Family anyFamily() { return GENERATE(Family::ipv4, Family::unix); }

TEST_CASE("sim: an edge is told once, merged, and again for each change") {
  Pair pair(anyFamily());
  REQUIRE(pair.look() == "");
  pair.peer.send("a");
  pair.peer.send("b");
  REQUIRE(pair.look() == "rw ");
  REQUIRE(pair.look() == "");  // unread bytes are no edge
  pair.peer.send("c");
  REQUIRE(pair.look() == "rw ");
  REQUIRE(readFrom(pair.fd) == "abc");
  pair.peer.send("d");
  REQUIRE(readFrom(pair.fd) == "d");
  REQUIRE(pair.look() == "w ");  // what was to be read is gone, the line still stood
}

TEST_CASE("sim: bytes come before the FIN, and the FIN is read for ever") {
  Pair pair(anyFamily());
  pair.peer.send("last");
  pair.peer.shutdownWrite();
  REQUIRE(pair.look() == "rwe ");
  REQUIRE(readFrom(pair.fd) == "last");
  REQUIRE(recvAnswer(pair.fd) == 0);
  REQUIRE(recvAnswer(pair.fd) == 0);
  REQUIRE(sys::send(pair.fd, asBytes("still")) == 5);
  REQUIRE(pair.peer.readAll() == "still");
}

TEST_CASE("sim: bytes come before a reset; it is told once, to whoever asks first") {
  Pair pair;
  pair.peer.send("last");
  pair.peer.reset();
  REQUIRE(pair.look() == "rwe ");
  REQUIRE(readFrom(pair.fd) == "last");
  SECTION("by reading") {
    REQUIRE(recvAnswer(pair.fd) == -ECONNRESET);
    REQUIRE(recvAnswer(pair.fd) == 0);
    REQUIRE(sys::send(pair.fd, asBytes("x")) == -EPIPE);
  }
  SECTION("by writing") {
    REQUIRE(sys::send(pair.fd, asBytes("x")) == -ECONNRESET);
    REQUIRE(sys::send(pair.fd, asBytes("x")) == -EPIPE);
    REQUIRE(recvAnswer(pair.fd) == 0);
  }
}

TEST_CASE("sim: close with unread input resets and drops what was queued") {
  Pair pair;
  pair.peer.receiveSize(3);
  REQUIRE(sys::send(pair.fd, asBytes("queued")) == 6);
  pair.peer.send("unread");
  sys::close(pair.fd);
  REQUIRE(pair.peer.readAll() == "que");
  REQUIRE(pair.peer.wasReset());
}

TEST_CASE("sim: close without unread input delivers what was queued, then a FIN") {
  Pair pair;
  pair.peer.receiveSize(3);
  REQUIRE(sys::send(pair.fd, asBytes("queued")) == 6);
  sys::close(pair.fd);
  REQUIRE(pair.peer.readAll() == "queued");
  REQUIRE(pair.peer.ended());
  REQUIRE_FALSE(pair.peer.wasReset());
  REQUIRE(pair.peer.send("to nobody") == 9);
  REQUIRE(pair.peer.wasReset());
}

TEST_CASE("sim: reset drops what was queued and tells a reset") {
  Pair pair;
  pair.peer.receiveSize(3);
  REQUIRE(sys::send(pair.fd, asBytes("queued")) == 6);
  sys::reset(pair.fd);
  REQUIRE(pair.peer.readAll() == "que");
  REQUIRE(pair.peer.wasReset());
}

TEST_CASE("sim: a unix socket closed with unread input leaves a reset behind the data") {
  Pair pair(Family::unix);
  REQUIRE(sys::send(pair.fd, asBytes("unread")) == 6);
  pair.peer.send("data");
  pair.peer.close();
  REQUIRE(sys::send(pair.fd, asBytes("x")) == -EPIPE);
  REQUIRE(readFrom(pair.fd) == "data");
  REQUIRE(recvAnswer(pair.fd) == -ECONNRESET);
  REQUIRE(recvAnswer(pair.fd) == 0);
}

TEST_CASE("sim: a full socket refuses, and tells of room once there is a good part of it") {
  Pair pair;
  pair.peer.receiveSize(0);
  size_t taken = 0;
  const std::string block(10'000, 'x');
  for (;;) {
    const sys::Answer answer = sys::send(pair.fd, asBytes(block));
    if (answer == -EAGAIN) break;
    taken += static_cast<size_t>(answer);
  }
  REQUIRE(taken == size_t{128} << 10);
  REQUIRE(pair.look() == "");
  pair.peer.receiveSize(10'000);
  REQUIRE(pair.look() == "");  // less than a third is free
  pair.peer.receiveSize(60'000);
  REQUIRE(pair.look() == "w ");
  REQUIRE(pair.look() == "");
}

TEST_CASE("sim: room that was never missed is no edge") {
  Pair pair;
  pair.peer.room(10);
  REQUIRE(sys::send(pair.fd, asBytes("1234567890")) == 10);
  pair.peer.room(10);
  REQUIRE(pair.look() == "");
  REQUIRE(sys::send(pair.fd, asBytes("1234567890x")) == 10);
  pair.peer.room(10);
  REQUIRE(pair.look() == "w ");
}

TEST_CASE("sim: a listener is told at every wait until its queue is empty") {
  Kernel kernel;
  Poller poller = Poller::make().value();
  const int fd = static_cast<int>(sys::socket(Family::ipv4));
  const Address here = Address::ipv4({127, 0, 0, 1}, 80);
  REQUIRE(sys::bind(fd, here, {}) == 0);
  REQUIRE(sys::listen(fd, 1) == 0);
  poller.add(fd, kToken, Watch::listener).value();
  REQUIRE(poller.wait(0).empty());
  std::array<Peer, 4> peers;
  for (Peer& peer : peers) peer = kernel.connect(80);
  Address peer;
  for (const Peer& each : peers) {  // those beyond the backlog come when there is room
    REQUIRE(poller.wait(0).size() == 1);
    REQUIRE(poller.wait(0).size() == 1);
    REQUIRE(sys::accept(fd, peer) > 0);
    REQUIRE(peer == each.address());
  }
  REQUIRE(poller.wait(0).empty());
  REQUIRE(sys::accept(fd, peer) == -EAGAIN);
}

TEST_CASE("sim: descriptors are the lowest free numbers, up to the limit") {
  Kernel kernel;
  kernel.descriptorLimit(3);
  REQUIRE(sys::socket(Family::ipv4) == 3);
  REQUIRE(sys::spare() == 4);
  REQUIRE(sys::socket(Family::unix) == 5);
  REQUIRE(sys::socket(Family::ipv6) == -EMFILE);
  sys::close(4);
  REQUIRE(sys::socket(Family::ipv6) == 4);
  REQUIRE(kernel.openDescriptors() == std::vector{3, 4, 5});
}

TEST_CASE("sim: time passes only while somebody waits with nothing to hear") {
  Pair pair;
  const uint64_t begin = pair.kernel.now();
  pair.peer.send("x");
  REQUIRE(pair.poller.wait(1000).size() == 1);
  REQUIRE(sys::now() == begin);
  REQUIRE(pair.poller.wait(1000).empty());
  REQUIRE(sys::now() == begin + 1'000'000'000);
  pair.kernel.after(300ms, [&] { pair.peer.send("y"); });
  REQUIRE(pair.poller.wait(1000).size() == 1);
  REQUIRE(sys::now() == begin + 1'300'000'000);
  REQUIRE_THROWS_WITH(pair.poller.wait(-1), "the reactor would sleep for ever");
  pair.kernel.allowIdle();
  REQUIRE(pair.poller.wait(-1).empty());
  pair.poller.wake();
  REQUIRE(pair.poller.wait(-1).empty());
}

TEST_CASE("sim: faults wait in line for their call, and for their descriptor") {
  Pair pair;
  pair.peer.send("abcdef");
  pair.kernel.fail(Call::recv, ENOMEM, pair.fd + 1);
  pair.kernel.inject(Call::recv, {.limit = 2});
  pair.kernel.fail(Call::recv, EAGAIN, pair.fd);
  REQUIRE(readFrom(pair.fd) == "ab");
  REQUIRE(recvAnswer(pair.fd) == -EAGAIN);
  REQUIRE(pair.look() == "rw ");  // what a fault left behind is told
  REQUIRE(readFrom(pair.fd) == "cdef");
  REQUIRE(pair.kernel.calls(Call::recv) == 3);
}

TEST_CASE("sim: tests may see and change what a wait tells") {
  Pair pair;
  pair.kernel.tell({.ready = os::kReadable, .token = 99});
  pair.kernel.duplicateEvents();
  REQUIRE(pair.poller.wait(0).size() == 2);
  pair.kernel.onWait([](std::vector<Event>& events) { events.clear(); });
  pair.peer.send("x");
  REQUIRE(pair.poller.wait(0).empty());
}

TEST_CASE("sim: a kernel inside a kernel gives the outer one back") {
  Kernel outer;
  {
    Kernel inner;
    REQUIRE(&Kernel::current() == &inner);
  }
  REQUIRE(&Kernel::current() == &outer);
}

}  // namespace
}  // namespace warren::sim
