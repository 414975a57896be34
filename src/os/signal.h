// Signals as events: the handler only notes and wakes; the reactor's turn does the rest.
#pragma once

#include <cstdint>

#include "os/poller.h"
#include "warren/result.h"

namespace warren::os {

// Notes signals for one reactor. A signal has at most one watcher in a process. What the process did
// with the signal before is put back by `unwatch` and by the destructor.
//   thread  the reactor's; signals may arrive on any thread
class SignalWatch {
 public:
  // `poller` is woken when a watched signal arrives; it outlives this.
  explicit SignalWatch(Poller& poller);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  // Usage::outOfRange for a number that is no catchable signal, Usage::conflict when another
  // reactor watches it. Watching twice is harmless.
  Result<void> watch(int signal);
  void unwatch(int signal);

  // The signals that arrived since the last take, one bit a number (bit n is signal n, 1..63).
  // Several arrivals of one signal between two takes are one.
  uint64_t take();

 private:
  Poller& poller_;
  uint64_t watched_ = 0;
};

}  // namespace warren::os
