#include "os/signal.h"

#include <pthread.h>
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

constexpr uint32_t kNone = UINT32_MAX;

// What a handler may touch lives as long as the process: one seat for each signal. Only the poller
// does not, so handlers that may be using it are counted, and `unwatch` waits until there are none.
struct Seat {
  std::atomic<uint32_t> process{kNone};   // where a SignalWatch has it: the fork count there
  std::atomic<Poller*> watcher{nullptr};  // woken by the handler
  std::atomic<int> handlersInside{0};     // between asking for `watcher` and being done with it
  std::atomic<bool> arrived{false};
  Disposition before;  // what to put back
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

// In a forked child the other threads do not exist, and nor do their handlers; what has arrived is the
// parent's. Later the child may have threads of its own, and what arrives is for it.
void beginAnew() {
  for (Seat& seat : seats) {
    seat.handlersInside = 0;
    seat.arrived = false;
  }
}

void awaitHandlers(const Seat& seat) {
  while (seat.handlersInside != 0) sched_yield();
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
  [[maybe_unused]] static const int registered = ::pthread_atfork(nullptr, nullptr, beginAnew);
  Seat& seat = seatOf(signal);
  const uint32_t here = sys::forkCount();
  uint32_t process = seat.process;
  if (process == here || !seat.process.compare_exchange_strong(process, here)) {
    return refused(Usage::conflict, signal, "another reactor watches it");
  }
  seat.watcher = &poller_;
  Disposition before;
  if (handle(signal, before) < 0) {  // EINVAL: SIGKILL, SIGSTOP and what libc keeps for itself
    seat.watcher = nullptr;
    seat.process = kNone;
    return refused(Usage::outOfRange, signal, "cannot be caught");
  }
  // A child has inherited the handler, with what the parent puts back; unless it has set another.
  if (before.sa_handler != noteAndWake) seat.before = before;
  watched_ |= bitOf(signal);
  if (seat.arrived) poller_.wake();  // in a child, after the fork: it woke the parent
  return {};
}

void SignalWatch::unwatch(int signal) {
  if (signal <= 0 || signal >= kSignalEnd || (watched_ & bitOf(signal)) == 0) return;
  watched_ &= ~bitOf(signal);
  Seat& seat = seatOf(signal);
  if (seat.watcher != &poller_) {  // a parent's, in a child whose own reactor has the seat
    return awaitHandlers(seat);
  }
  sigaction(signal, &seat.before, nullptr);
  seat.watcher = nullptr;
  awaitHandlers(seat);
  seat.arrived = false;
  seat.process = kNone;
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
