// Timers: everything in the reactor that waits for a time, on one wheel.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "base/slab.h"
#include "base/timer_wheel.h"
#include "net/token.h"
#include "warren/callback.h"

namespace warren::net {

enum class TimerKind : uint8_t {
  task,            // Reactor::after and every
  socketTimeout,   // SocketHandle::timeout and idleTimeout
  socketDeadline,  // connecting or lingering takes too long
  dialStagger,     // time to try the next address
  acceptRetry,     // time to look for free descriptors again
  handshakeHurry,  // a listener was full of handshakes a while ago
};

// One timer. Owner: the slab; whoever started it cancels it before the slot in `owner` goes.
struct TimerSlot : base::Slot, base::WheelTimer {
  TimerSlot(base::SlotId id, TimerKind timerKind, uint32_t ownerIndex)
      : base::Slot(id), owner(ownerIndex), kind(timerKind) {}

  uint32_t owner;  // slot index of the connection or listener; kNone for tasks
  TimerKind kind;
  bool alive = true;
  bool referenced = false;  // keeps the reactor running
  uint64_t period = 0;      // of `every`, and of a socket's idle timeout; 0: once
  Callback<> task;
};

class Timers {
 public:
  explicit Timers(base::Slab& slab);

  // A timer due `delay` milliseconds from now; nullptr when there is no memory.
  TimerSlot* start(TimerKind kind, uint32_t owner, uint64_t delay);

  // Sets the deadline anew. Delays count from the clock, not from the start of the turn, so a handler
  // that took long does not make its timers early.
  void restart(TimerSlot& timer, uint64_t delay);
  // The next deadline of a periodic timer: a whole number of periods after its last one, and ahead.
  void repeat(TimerSlot& timer);

  // The timer at an index that `start` gave and that was not cancelled.
  TimerSlot& at(uint32_t index) { return *static_cast<TimerSlot*>(slab_.at(index)); }

  // Ends it and gives its slot back.
  void cancel(TimerSlot& timer);
  // The same for a link to one, which may be kNone and becomes it. Most are: every socket that closes asks.
  void cancel(uint32_t& index) {
    if (index != kNone) cancel(at(std::exchange(index, kNone)));
  }

  // Finds out what has expired; `next` gives it, one at a time. Between them a timer may be cancelled.
  void expire(uint64_t now);  // the clock, in nanoseconds
  TimerSlot* next() { return static_cast<TimerSlot*>(expired_.pop()); }
  // Makes everything expire: the end of the reactor.
  void expireAll() { wheel_.advance(UINT64_MAX, expired_); }

  // The clock as timers see it.
  static uint64_t clock();
  static uint64_t clockUp();  // rounded up, as deadlines are

  // Milliseconds until `expire` should be called; nullopt when nothing waits.
  std::optional<uint64_t> untilNext() const;

 private:
  static constexpr uint64_t kTick = 1'000'000;  // nanoseconds

  base::Slab& slab_;
  base::TimerWheel wheel_;
  base::ExpiredTimers expired_;
};

}  // namespace warren::net
