#include "os/poller.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <limits>
#include <thread>
#include <vector>

namespace {

struct [[maybe_unused]] Ground {};  // the real kernel

}  // namespace

#include "poller_promises.h"

namespace warren::os {
namespace {

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
    REQUIRE(uint64_t{events[0].token} == 2);
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
