// The promises of a poller: test cases for every kernel there is. Who includes this has defined
//   Ground  the kernel of one test
// and is one file of a program.
#pragma once

#include <poll.h>

#include <array>
#include <cerrno>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "loopback.h"
#include "os/poller.h"
#include "support/catch.h"

namespace warren::os {
namespace {

constexpr uint64_t kNear = 0x0123456789abcdef;

Poller makePoller() { return Poller::make().value(); }

void add(Poller& poller, const Fd& fd, uint64_t token, Watch watch = Watch::stream) {
  poller.add(fd.get(), token, watch).value();
}

// Waits until the events of `token` have told together what `enough` asks for.
Event await(Poller& poller, uint64_t token, bool (*enough)(const Event&)) {
  Event told{0, token};
  const uint64_t begin = sys::now() / 1'000'000;
  while (!enough(told)) {
    for (const Event& event : poller.wait(kPatienceMs)) {
      if (event.token != token) continue;
      told.ready |= event.ready;
    }
    if (sys::now() / 1'000'000 - begin >= kPatienceMs) FAIL("the event did not come");
  }
  return told;
}

void awaitReadable(Poller& poller, uint64_t token) {
  await(poller, token, [](const Event& event) { return event.is(kReadable); });
}
void awaitWritable(Poller& poller, uint64_t token) {
  await(poller, token, [](const Event& event) { return event.is(kWritable); });
}
void awaitEnded(Poller& poller, uint64_t token) {
  const Event told = await(poller, token, [](const Event& event) { return event.is(kEnded); });
  REQUIRE(told.is(kReadable));  // an end is read
}

Family anyFamily() { return GENERATE(Family::ipv4, Family::unix); }

TEST_CASE("nothing to tell is an empty wait", "[poller]") {
  const Ground ground;
  Poller poller = makePoller();
  REQUIRE(poller.wait(0).empty());
  const Pair pair(anyFamily());
  REQUIRE(poller.wait(0).empty());
}

TEST_CASE("a wait without events is never too short", "[poller]") {
  const Ground ground;
  Poller poller = makePoller();
  for (const int timeout : {1, 7, 30}) {
    const uint64_t begin = sys::now() / 1'000'000;
    REQUIRE(poller.wait(timeout).empty());
    REQUIRE(sys::now() / 1'000'000 - begin >= static_cast<uint64_t>(timeout));
  }
}

TEST_CASE("a fresh stream has room to write, which is told once", "[poller]") {
  const Ground ground;
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  const std::span<const Event> events = poller.wait(kPatienceMs);
  REQUIRE(events.size() == 1);
  REQUIRE(uint64_t{events[0].token} == kNear);
  REQUIRE(events[0].is(kWritable));
  REQUIRE(!events[0].is(kReadable));
  REQUIRE(!events[0].is(kEnded));
  REQUIRE(poller.wait(0).empty());
}

TEST_CASE("an edge is told once, though nobody reads", "[poller]") {
  const Ground ground;
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  awaitWritable(poller, kNear);
  sendAll(pair.far, "first");
  awaitReadable(poller, kNear);
  REQUIRE(poller.wait(0).empty());
  sendAll(pair.far, "second");
  awaitReadable(poller, kNear);
  REQUIRE(poller.wait(0).empty());
  REQUIRE(receiveAll(pair.near) == "firstsecond");
}

TEST_CASE("both directions of a descriptor come in one event", "[poller]") {
  const Ground ground;
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  sendAll(pair.far, "hello");
  await(pair.near, POLLIN);
  add(poller, pair.near, kNear);
  const std::span<const Event> events = poller.wait(kPatienceMs);
  REQUIRE(events.size() == 1);
  REQUIRE(events[0].is(kReadable));
  REQUIRE(events[0].is(kWritable));
  REQUIRE(!events[0].is(kEnded));
}

TEST_CASE("data and end that are queued before the first wait are readable and ended", "[poller]") {
  const Ground ground;
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  sendAll(pair.far, "last words");
  REQUIRE(sys::shutdown(pair.far.get(), sys::Side::write) == 0);
  add(poller, pair.near, kNear);
  awaitEnded(poller, kNear);
  std::array<std::byte, 10> words;
  REQUIRE(sys::recv(pair.near.get(), words) == 10);
  REQUIRE(sys::recv(pair.near.get(), words) == 0);
}

TEST_CASE("an end behind data that was told already is an edge of its own", "[poller]") {
  const Ground ground;
  const bool readFirst = GENERATE(false, true);
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  sendAll(pair.far, "words");
  awaitReadable(poller, kNear);
  if (readFirst) REQUIRE(receiveAll(pair.near) == "words");
  REQUIRE(poller.wait(0).empty());
  REQUIRE(sys::shutdown(pair.far.get(), sys::Side::write) == 0);
  awaitEnded(poller, kNear);
  REQUIRE(poller.wait(0).empty());  // a half-open stream does not spin
  sendAll(pair.near, "answer");
  await(pair.far, POLLIN);
  REQUIRE(receiveAll(pair.far) == "answer");
}

TEST_CASE("after a short write, room is an edge", "[poller]") {
  const Ground ground;
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  awaitWritable(poller, kNear);
  REQUIRE(sendUntilBlocked(pair.near) > 0);
  poller.wait(0);
  REQUIRE(!receiveAll(pair.far).empty());
  awaitWritable(poller, kNear);
  REQUIRE(sys::send(pair.near.get(), asBytes("more")) == 4);
}

TEST_CASE("a reset is an end", "[poller]") {
  const Ground ground;
  Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  awaitWritable(poller, kNear);
  sys::reset(pair.far.release());
  awaitEnded(poller, kNear);
  std::array<std::byte, 1> byte;
  const sys::Answer answer = sys::recv(pair.near.get(), byte);
  REQUIRE(answer <= 0);
  REQUIRE(!sys::blocked(answer));
}

TEST_CASE("a connect that is decided is writable", "[poller]") {
  const Ground ground;
  Poller poller = makePoller();
  Fd bound = fdOf(sys::socket(Family::ipv4));  // its port refuses: it does not listen
  REQUIRE(sys::bind(bound.get(), loopback(Family::ipv4), {}) == 0);
  const Server server(Family::ipv4);
  const bool refused = GENERATE(false, true);
  const Fd client = fdOf(sys::socket(Family::ipv4));
  const Address target = refused ? sys::localAddress(bound.get()) : server.address();
  const sys::Answer answer = sys::connect(client.get(), target);
  REQUIRE((answer == 0 || answer == -EINPROGRESS || answer == -ECONNREFUSED));
  add(poller, client, kNear);
  awaitWritable(poller, kNear);
  REQUIRE((sys::peerAddress(client.get()).family() == Family::none) == refused);
}

TEST_CASE("a listener is told until everything is accepted", "[poller]") {
  const Ground ground;
  const Server server(anyFamily());
  Poller poller = makePoller();
  add(poller, server.fd(), kNear, Watch::listener);
  REQUIRE(poller.wait(0).empty());
  const Fd first = server.connect();
  const Fd second = server.connect();
  awaitReadable(poller, kNear);
  awaitReadable(poller, kNear);
  const Fd firstAccepted = server.accept();
  awaitReadable(poller, kNear);
  const Fd secondAccepted = server.accept();
  REQUIRE(poller.wait(0).empty());
}

TEST_CASE("a listener that is removed is silent, and can be added again", "[poller]") {
  const Ground ground;
  const Server server(anyFamily());
  Poller poller = makePoller();
  add(poller, server.fd(), 1, Watch::listener);
  const Fd client = server.connect();
  awaitReadable(poller, 1);
  poller.remove(server.fd().get());
  REQUIRE(poller.wait(0).empty());
  add(poller, server.fd(), 2, Watch::listener);
  awaitReadable(poller, 2);
}

TEST_CASE("a descriptor that was closed with an event pending gives none", "[poller]") {
  const Ground ground;
  const Family family = anyFamily();
  Pair closed(family);
  const Pair open(family);
  Poller poller = makePoller();
  add(poller, closed.near, 1);
  add(poller, open.near, 2);
  sendAll(closed.far, "hello");
  sendAll(open.far, "hello");
  await(closed.near, POLLIN);
  await(open.near, POLLIN);
  closed.near.reset();
  const std::span<const Event> events = poller.wait(kPatienceMs);
  REQUIRE(events.size() == 1);
  REQUIRE(uint64_t{events[0].token} == 2);
}

TEST_CASE("remove bears descriptors that are gone or were never added", "[poller]") {
  const Ground ground;
  Pair pair(anyFamily());
  Poller poller = makePoller();
  poller.remove(pair.near.get());
  add(poller, pair.near, kNear);
  poller.remove(pair.near.get());
  REQUIRE(poller.wait(0).empty());
  poller.remove(pair.near.get());
  const int number = pair.near.get();
  pair.near.reset();
  poller.remove(number);
  poller.remove(-1);
  REQUIRE(poller.wait(0).empty());
}

TEST_CASE("add refuses what is no descriptor, and goes on", "[poller]") {
  const Ground ground;
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  const Watch watch = GENERATE(Watch::stream, Watch::listener);
  REQUIRE(poller.add(-1, 1, watch).error().isErrno(EBADF));
  Fd closed = fdOf(sys::socket(Family::ipv4));
  const int number = closed.get();
  closed.reset();
  REQUIRE(poller.add(number, 2, watch).error().isErrno(EBADF));
  awaitWritable(poller, kNear);
  REQUIRE(poller.wait(0).empty());
}

TEST_CASE("retoken tells again what is ready, under the other token", "[poller]") {
  const Ground ground;
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, 1);
  sendAll(pair.far, "hello");
  awaitReadable(poller, 1);
  REQUIRE(poller.wait(0).empty());
  poller.retoken(pair.near.get(), 2).value();
  const Event told = await(poller, 2, [](const Event& event) { return event.is(kReadable); });
  REQUIRE(told.is(kWritable));
  REQUIRE(poller.wait(0).empty());
  sendAll(pair.far, "again");
  awaitReadable(poller, 2);
}

TEST_CASE("more descriptors than a batch holds are all told", "[poller]") {
  const Ground ground;
  constexpr uint64_t kCount = 300;
  const Server server(Family::unix);
  Poller poller = makePoller();
  std::vector<Fd> fds;
  for (uint64_t token = 0; token < kCount; ++token) {
    fds.push_back(server.connect());
    add(poller, fds.back(), token);
    fds.push_back(server.accept());
  }
  std::set<uint64_t> told;
  while (told.size() < kCount) {
    const std::span<const Event> events = poller.wait(kPatienceMs);
    REQUIRE(!events.empty());
    for (const Event& event : events) {
      REQUIRE(event.is(kWritable));
      REQUIRE(told.insert(uint64_t{event.token}).second);
    }
  }
  REQUIRE(*told.rbegin() == kCount - 1);
}

TEST_CASE("a poller that was moved goes on", "[poller]") {
  const Ground ground;
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  Poller moved = std::move(poller);
  awaitWritable(moved, kNear);
}

TEST_CASE("wakes before a wait end that wait, and only that one", "[poller]") {
  const Ground ground;
  Poller poller = makePoller();
  for (int wakes = 0; wakes < 3; ++wakes) poller.wake();
  REQUIRE(poller.wait(-1).empty());
  const uint64_t begin = sys::now() / 1'000'000;
  REQUIRE(poller.wait(20).empty());
  REQUIRE(sys::now() / 1'000'000 - begin >= 20);
}

TEST_CASE("a wake does not hide events", "[poller]") {
  const Ground ground;
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  poller.wake();
  awaitWritable(poller, kNear);
  sendAll(pair.far, "hello");
  poller.wake();
  awaitReadable(poller, kNear);
}

}  // namespace
}  // namespace warren::os
