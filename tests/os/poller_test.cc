#include "os/poller.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "loopback.h"
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
  Event told{token, 0};
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
  Poller poller = makePoller();
  REQUIRE(poller.wait(0).empty());
  const Pair pair(anyFamily());
  REQUIRE(poller.wait(0).empty());
}

TEST_CASE("a wait without events is never too short", "[poller]") {
  Poller poller = makePoller();
  for (const int timeout : {1, 7, 30}) {
    const uint64_t begin = sys::now() / 1'000'000;
    REQUIRE(poller.wait(timeout).empty());
    REQUIRE(sys::now() / 1'000'000 - begin >= static_cast<uint64_t>(timeout));
  }
}

TEST_CASE("a fresh stream has room to write, which is told once", "[poller]") {
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  const std::span<const Event> events = poller.wait(kPatienceMs);
  REQUIRE(events.size() == 1);
  REQUIRE(events[0].token == kNear);
  REQUIRE(events[0].is(kWritable));
  REQUIRE(!events[0].is(kReadable));
  REQUIRE(!events[0].is(kEnded));
  REQUIRE(poller.wait(0).empty());
}

TEST_CASE("an edge is told once, though nobody reads", "[poller]") {
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
  REQUIRE(events[0].token == 2);
}

TEST_CASE("a number that is used again tells the token of its second use", "[poller]") {
  Pair old(anyFamily());
  const Pair fresh(Family::ipv4);
  Poller poller = makePoller();
  add(poller, old.near, 1);
  awaitWritable(poller, 1);
  const Fd reused(::dup2(fresh.near.get(), old.near.release()));  // closes what had the number
  add(poller, reused, 2);
  sendAll(fresh.far, "hello");
  for (bool readable = false; !readable;) {
    const std::span<const Event> events = poller.wait(kPatienceMs);
    REQUIRE(events.size() == 1);
    REQUIRE(events[0].token == 2);
    readable = events[0].is(kReadable);
  }
}

TEST_CASE("remove silences a descriptor that others still hold", "[poller]") {
  Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  awaitWritable(poller, kNear);
  const Fd copy(::dup(pair.near.get()));
  poller.remove(pair.near.get());
  pair.near.reset();
  sendAll(pair.far, "hello");
  await(copy, POLLIN);
  REQUIRE(poller.wait(0).empty());
}

TEST_CASE("remove bears descriptors that are gone or were never added", "[poller]") {
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
      REQUIRE(told.insert(event.token).second);
    }
  }
  REQUIRE(*told.rbegin() == kCount - 1);
}

TEST_CASE("a poller that was moved goes on", "[poller]") {
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  Poller moved = std::move(poller);
  awaitWritable(moved, kNear);
}

TEST_CASE("the poller's descriptor is readable when there is something to tell", "[poller]") {
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  pollfd asked{poller.fd(), POLLIN, 0};
  add(poller, pair.near, kNear);
  awaitWritable(poller, kNear);
  REQUIRE(::poll(&asked, 1, 0) == 0);
  sendAll(pair.far, "hello");
  REQUIRE(::poll(&asked, 1, kPatienceMs) == 1);
  awaitReadable(poller, kNear);
  REQUIRE(::poll(&asked, 1, 0) == 0);
  poller.wake();
  REQUIRE(::poll(&asked, 1, kPatienceMs) == 1);
}

TEST_CASE("wakes before a wait end that wait, and only that one", "[poller]") {
  Poller poller = makePoller();
  for (int wakes = 0; wakes < 3; ++wakes) poller.wake();
  REQUIRE(poller.wait(-1).empty());
  const uint64_t begin = sys::now() / 1'000'000;
  REQUIRE(poller.wait(20).empty());
  REQUIRE(sys::now() / 1'000'000 - begin >= 20);
}

TEST_CASE("a wake does not hide events", "[poller]") {
  const Pair pair(anyFamily());
  Poller poller = makePoller();
  add(poller, pair.near, kNear);
  poller.wake();
  awaitWritable(poller, kNear);
  sendAll(pair.far, "hello");
  poller.wake();
  awaitReadable(poller, kNear);
}

TEST_CASE("the poller's descriptors do not outlive an exec", "[poller]") {
  Poller poller = makePoller();
  REQUIRE((::fcntl(poller.fd(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("a signal ends a wait early, with nothing", "[poller]") {
  struct sigaction action {};
  struct sigaction before;
  action.sa_handler = [](int) {};
  REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
  Poller poller = makePoller();
  // It repeats, in case the first one comes before the wait.
  const itimerval often{{0, 5000}, {0, 5000}};
  const itimerval never{};
  const uint64_t begin = sys::now() / 1'000'000;
  REQUIRE(::setitimer(ITIMER_REAL, &often, nullptr) == 0);
  const bool nothing = poller.wait(kPatienceMs).empty();
  REQUIRE(::setitimer(ITIMER_REAL, &never, nullptr) == 0);
  REQUIRE(::sigaction(SIGALRM, &before, nullptr) == 0);
  REQUIRE(nothing);
  REQUIRE(sys::now() / 1'000'000 - begin < kPatienceMs);
}

TEST_CASE("a wake on another thread ends a wait, however long it may be", "[poller][threads]") {
  const int64_t timeout =
      GENERATE(int64_t{-1}, int64_t{1} << 32, std::numeric_limits<int64_t>::max());
  Poller poller = makePoller();
  for (int round = 0; round < 100; ++round) {
    std::atomic<bool> woken{false};
    std::thread other([&] {
      woken = true;
      poller.wake();
    });
    const bool nothing = poller.wait(timeout).empty();
    const bool inTime = woken;
    other.join();
    REQUIRE(nothing);
    REQUIRE(inTime);
  }
}

TEST_CASE("of many racing wakes none is lost", "[poller][threads]") {
  constexpr uint32_t kThreads = 4;
  constexpr uint32_t kRounds = 5000;
  Poller poller = makePoller();
  std::array<std::atomic<uint32_t>, kThreads> asked{};
  std::array<std::atomic<uint32_t>, kThreads> answered{};
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&poller, &question = asked[i], &answer = answered[i]] {
      for (uint32_t round = 1; round <= kRounds; ++round) {
        question = round;
        poller.wake();
        while (answer != round) std::this_thread::yield();
      }
    });
  }
  // When a wake is lost, all threads wait for an answer and this wait for a wake.
  bool lost = false;
  for (uint32_t done = 0; done < kThreads;) {
    const uint64_t begin = sys::now() / 1'000'000;
    poller.wait(kPatienceMs);
    lost |= sys::now() / 1'000'000 - begin >= kPatienceMs;
    done = 0;
    for (uint32_t i = 0; i < kThreads; ++i) {
      answered[i] = asked[i].load();
      done += answered[i] == kRounds;
    }
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(!lost);
}

}  // namespace
}  // namespace warren::os
