#include "os/signal.h"

#include <sched.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <csignal>
#include <string>

#include "os/sys.h"

namespace warren::os {
namespace {

using Disposition = struct sigaction;  // the type and the call have one name

// What a handler may touch lives as long as the process: one seat for each signal. Only the poller
// does not, so handlers that may be using it are counted, and `unwatch` waits until there are none.
struct Seat {
  std::atomic<bool> taken{false};         // by a SignalWatch, until the last handler is out
  std::atomic<Poller*> watcher{nullptr};  // woken by the handler
  std::atomic<int> handlersInside{0};     // between asking for `watcher` and being done with it
  std::atomic<bool> arrived{false};
  Disposition before;  // the watcher's own: what to put back
  uint32_t forks = 0;  // and the process in which it watches
};

static_assert(std::atomic<Poller*>::is_always_lock_free && std::atomic<bool>::is_always_lock_free &&
                  std::atomic<int>::is_always_lock_free,
              "a lock in a signal handler may be held by the code it interrupted");

constexpr int kSignalEnd = 64;
std::array<Seat, kSignalEnd> seats;

Seat& seatOf(int signal) { return seats[static_cast<size_t>(signal)]; }

constexpr uint64_t bitOf(int signal) { return uint64_t{1} << signal; }

// Either the count is seen by `unwatch`, or its null is seen here: both orders are sequential.
void noteAndWake(int signal) {
  const int errnoBefore = errno;
  Seat& seat = seatOf(signal);
  ++seat.handlersInside;
  if (Poller* watcher = seat.watcher) {
    seat.arrived = true;
    watcher->wake();
  }
  --seat.handlersInside;
  errno = errnoBefore;
}

// Everything is blocked meanwhile, so no other handler can leave this one by a jump.
int handle(int signal, Disposition& before) {
  Disposition action{};
  action.sa_handler = noteAndWake;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  return sigaction(signal, &action, &before);
}

Error refused(Usage code, int signal, const char* why) {
  return Error(code, Step::signal, "signal " + std::to_string(signal) + ": " + why);
}

}  // namespace

SignalWatch::SignalWatch(Poller& poller) : poller_(poller) {}

SignalWatch::~SignalWatch() {
  while (watched_ != 0) unwatch(std::countr_zero(watched_));
}

Result<void> SignalWatch::watch(int signal) {
  if (signal <= 0 || signal >= kSignalEnd) {
    return refused(Usage::outOfRange, signal, "not from 1 to 63");
  }
  if ((watched_ & bitOf(signal)) != 0) return {};
  Seat& seat = seatOf(signal);
  if (seat.taken.exchange(true)) {
    return refused(Usage::conflict, signal, "another reactor watches it");
  }
  seat.forks = sys::forkCount();
  seat.watcher = &poller_;
  if (handle(signal, seat.before) < 0) {  // EINVAL: SIGKILL, SIGSTOP and what libc keeps for itself
    seat.watcher = nullptr;
    seat.taken = false;
    return refused(Usage::outOfRange, signal, "cannot be caught");
  }
  watched_ |= bitOf(signal);
  return {};
}

void SignalWatch::unwatch(int signal) {
  if (signal <= 0 || signal >= kSignalEnd || (watched_ & bitOf(signal)) == 0) return;
  Seat& seat = seatOf(signal);
  sigaction(signal, &seat.before, nullptr);
  seat.watcher = nullptr;
  // In a forked child the threads of the others do not exist, and nor do their handlers.
  if (sys::forkCount() != seat.forks) seat.handlersInside = 0;
  while (seat.handlersInside != 0) sched_yield();
  seat.arrived = false;
  watched_ &= ~bitOf(signal);
  seat.taken = false;
}

uint64_t SignalWatch::take() {
  uint64_t arrived = 0;
  for (uint64_t left = watched_; left != 0; left &= left - 1) {
    const int signal = std::countr_zero(left);
    if (seatOf(signal).arrived.exchange(false)) arrived |= bitOf(signal);
  }
  return arrived;
}

}  // namespace warren::os
