#include "os/signal.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>

#include "loopback.h"
#include "support/catch.h"

namespace warren::os {
namespace {

constexpr uint64_t bitOf(int signal) { return uint64_t{1} << signal; }

std::atomic<int> ownCalls{0};
void countOwn(int) { ++ownCalls; }

// Gives signals a disposition of the process's own for as long as it lives.
class Disposition {
 public:
  Disposition(int signal, void (*function)(int)) : signal_(signal) {
    struct sigaction action {};
    action.sa_handler = function;
    REQUIRE(::sigaction(signal, &action, &before_) == 0);
    ownCalls = 0;
  }
  ~Disposition() { ::sigaction(signal_, &before_, nullptr); }
  Disposition(const Disposition&) = delete;
  Disposition& operator=(const Disposition&) = delete;

 private:
  int signal_;
  struct sigaction before_;
};

Poller makePoller() { return Poller::make().value(); }

TEST_CASE("a watched signal wakes the poller and is taken once", "[signal]") {
  const Disposition deadly(SIGUSR1, SIG_DFL);
  Poller poller = makePoller();
  SignalWatch signals(poller);
  REQUIRE(signals.take() == 0);
  signals.watch(SIGUSR1).value();
  REQUIRE(signals.take() == 0);
  ::raise(SIGUSR1);
  REQUIRE(poller.wait(-1).empty());
  REQUIRE(signals.take() == bitOf(SIGUSR1));
  REQUIRE(signals.take() == 0);
}

TEST_CASE("several arrivals are one, and each signal has its own bit", "[signal]") {
  Poller poller = makePoller();
  SignalWatch signals(poller);
  signals.watch(SIGUSR1).value();
  signals.watch(SIGUSR2).value();
  signals.watch(SIGHUP).value();
  for (const int signal : {SIGUSR2, SIGHUP, SIGHUP}) ::raise(signal);
  REQUIRE(poller.wait(-1).empty());
  REQUIRE(signals.take() == (bitOf(SIGUSR2) | bitOf(SIGHUP)));
  REQUIRE(poller.wait(0).empty());
  REQUIRE(signals.take() == 0);
}

TEST_CASE("what the process did with a signal comes back", "[signal]") {
  const bool byDestructor = GENERATE(false, true);
  const Disposition own(SIGUSR1, countOwn);
  Poller poller = makePoller();
  auto signals = std::make_unique<SignalWatch>(poller);
  signals->watch(SIGUSR1).value();
  signals->watch(SIGUSR1).value();  // watching twice is harmless
  ::raise(SIGUSR1);
  REQUIRE(ownCalls == 0);
  if (byDestructor) {
    signals.reset();
  } else {
    signals->unwatch(SIGUSR1);
    REQUIRE(signals->take() == 0);
  }
  ::raise(SIGUSR1);
  REQUIRE(ownCalls == 1);
}

TEST_CASE("a signal can be watched again, without what came before", "[signal]") {
  Poller poller = makePoller();
  SignalWatch signals(poller);
  signals.watch(SIGUSR1).value();
  ::raise(SIGUSR1);
  signals.unwatch(SIGUSR1);
  signals.watch(SIGUSR1).value();
  REQUIRE(signals.take() == 0);
  ::raise(SIGUSR1);
  REQUIRE(signals.take() == bitOf(SIGUSR1));
}

TEST_CASE("a signal has one watcher in a process", "[signal]") {
  Poller poller = makePoller();
  SignalWatch first(poller);
  SignalWatch second(poller);
  first.watch(SIGUSR1).value();
  REQUIRE(second.watch(SIGUSR1).error().is(Usage::conflict));
  second.unwatch(SIGUSR1);  // not its own
  ::raise(SIGUSR1);
  REQUIRE(second.take() == 0);
  REQUIRE(first.take() == bitOf(SIGUSR1));
  first.unwatch(SIGUSR1);
  second.watch(SIGUSR1).value();
  ::raise(SIGUSR1);
  REQUIRE(second.take() == bitOf(SIGUSR1));
}

TEST_CASE("what cannot be caught is out of range", "[signal]") {
  const int number = GENERATE(-1, 0, 64, 65, 1000000, SIGKILL, SIGSTOP);
  Poller poller = makePoller();
  SignalWatch signals(poller);
  const Error error = signals.watch(number).error();
  REQUIRE(error.is(Usage::outOfRange));
  REQUIRE(error.step() == Step::signal);
  REQUIRE(signals.watch(number).error().is(Usage::outOfRange));  // and not taken by the first try
  signals.unwatch(number);
}

TEST_CASE("the handler leaves errno alone", "[signal]") {
  Poller poller = makePoller();
  SignalWatch signals(poller);
  signals.watch(SIGUSR1).value();
  errno = ENOTTY;
  ::raise(SIGUSR1);
  REQUIRE(errno == ENOTTY);
}

TEST_CASE("a forked child can let go of what its parent watches", "[signal]") {
  const Disposition own(SIGUSR1, countOwn);
  Poller poller = makePoller();
  auto signals = std::make_unique<SignalWatch>(poller);
  signals->watch(SIGUSR1).value();
  const pid_t child = ::fork();
  if (child == 0) {
    signals.reset();
    ::raise(SIGUSR1);
    ::_exit(ownCalls == 1 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  ::raise(SIGUSR1);
  REQUIRE(ownCalls == 0);
  REQUIRE(signals->take() == bitOf(SIGUSR1));
}

TEST_CASE("a forked child watches a signal that its parent watches", "[signal]") {
  const bool changed = GENERATE(false, true);  // by the child, before it watches
  const Disposition own(SIGUSR1, countOwn);
  Poller poller = makePoller();
  auto parents = std::make_unique<SignalWatch>(poller);
  parents->watch(SIGUSR1).value();
  ::raise(SIGUSR1);  // the parent's to take
  const pid_t child = ::fork();
  if (child == 0) {
    if (changed) ::signal(SIGUSR1, countOwn);
    Poller another = makePoller();
    SignalWatch signals(another);
    SignalWatch second(another);
    bool good = static_cast<bool>(signals.watch(SIGUSR1)) && signals.take() == 0;
    good = good && second.watch(SIGUSR1).error().is(Usage::conflict);
    ::raise(SIGUSR1);
    good = good && another.wait(10'000).empty() && signals.take() == bitOf(SIGUSR1);
    parents.reset();
    ::raise(SIGUSR1);
    good = good && signals.take() == bitOf(SIGUSR1) && ownCalls == 0;
    signals.unwatch(SIGUSR1);
    ::raise(SIGUSR1);
    ::_exit(good && ownCalls == 1 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  REQUIRE(parents->take() == bitOf(SIGUSR1));
}

TEST_CASE("a signal that reaches a forked child before it watches is told to it", "[signal]") {
  const Disposition own(SIGUSR1, countOwn);
  Poller poller = makePoller();
  SignalWatch parents(poller);
  parents.watch(SIGUSR1).value();
  const pid_t child = ::fork();
  if (child == 0) {
    ::raise(SIGUSR1);
    Poller another = makePoller();
    SignalWatch signals(another);
    const bool good = static_cast<bool>(signals.watch(SIGUSR1)) && another.wait(10'000).empty() &&
                      signals.take() == bitOf(SIGUSR1);
    ::_exit(good ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  REQUIRE(parents.take() == 0);
}

TEST_CASE("a handler that begins after its watch ended does nothing", "[signal]") {
  struct sigaction current;
  {
    Poller poller = makePoller();
    SignalWatch signals(poller);
    signals.watch(SIGUSR1).value();
    REQUIRE(::sigaction(SIGUSR1, nullptr, &current) == 0);
  }
  current.sa_handler(SIGUSR1);  // as when the kernel chose it just before
  Poller poller = makePoller();
  SignalWatch signals(poller);
  signals.watch(SIGUSR1).value();
  REQUIRE(signals.take() == 0);
}

TEST_CASE("a signal that another thread gets ends a wait", "[signal][threads]") {
  Poller poller = makePoller();
  SignalWatch signals(poller);
  signals.watch(SIGUSR1).value();
  std::thread other([] { ::raise(SIGUSR1); });
  REQUIRE(poller.wait(-1).empty());
  REQUIRE(signals.take() == bitOf(SIGUSR1));
  other.join();
}

TEST_CASE("a handler that runs while its watch ends leaves the poller alone", "[signal][threads]") {
  const Disposition harmless(SIGUSR1, SIG_IGN);
  std::atomic<bool> done{false};
  std::array<std::thread, 2> storm;
  for (std::thread& thread : storm) {
    thread = std::thread([&done] {
      while (!done) {
        ::raise(SIGUSR1);
        std::this_thread::yield();
      }
    });
  }
  int taken = 0;
  for (int round = 0; round < 10000; ++round) {
    Poller poller = makePoller();  // freed as soon as its watch is gone
    SignalWatch signals(poller);
    signals.watch(SIGUSR1).value();
    poller.wait(round % 3 == 0 ? -1 : 0);
    taken += signals.take() == bitOf(SIGUSR1);
    if (round % 2 == 0) signals.unwatch(SIGUSR1);
  }
  done = true;
  for (std::thread& thread : storm) thread.join();
  REQUIRE(taken > 0);
}

}  // namespace
}  // namespace warren::os
