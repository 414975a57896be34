#include "net/timers.h"

#include <new>
#include <utility>

#include "os/sys.h"

namespace warren::net {

// Deadlines round the clock up, expiry rounds it down: that is what makes a timer never early.
uint64_t Timers::clock() { return os::sys::now() / kTick; }
uint64_t Timers::clockUp() { return (os::sys::now() + kTick - 1) / kTick; }

Timers::Timers(base::Slab& slab) : slab_(slab), wheel_(os::sys::now() / kTick) {}

TimerSlot* Timers::start(TimerKind kind, uint32_t owner, uint64_t delay) {
  base::Slot* slot = slab_.take(sizeof(TimerSlot), alignof(TimerSlot));
  if (slot == nullptr) return nullptr;
  auto* timer = ::new (static_cast<void*>(slot)) TimerSlot(slot->id(), kind, owner);
  restart(*timer, delay);
  return timer;
}

void Timers::restart(TimerSlot& timer, uint64_t delay) {
  const uint64_t now = os::sys::now();
  if (wheel_.empty()) wheel_.advance(now / kTick, expired_);  // its time stands still while empty
  wheel_.arm(timer, (now + kTick - 1) / kTick + delay);
}

void Timers::repeat(TimerSlot& timer) {
  const uint64_t now = wheel_.now();
  uint64_t deadline = timer.deadline + timer.period;
  if (deadline <= now) deadline += (now - deadline) / timer.period * timer.period + timer.period;
  wheel_.arm(timer, deadline);
}

void Timers::cancel(TimerSlot& timer) {
  WARREN_CHECK(timer.alive);
  wheel_.cancel(timer);
  timer.alive = false;
  const Callback<> task = std::exchange(timer.task, {});  // dies last: it may be anything
  slab_.give(timer);
}

void Timers::expire(uint64_t now) {
  if (!wheel_.empty()) wheel_.advance(now / kTick, expired_);
}

std::optional<uint64_t> Timers::untilNext() const {
  if (!expired_.empty()) return 0;
  const std::optional<uint64_t> deadline = wheel_.nextDeadline();
  if (!deadline) return std::nullopt;
  const uint64_t now = os::sys::now();
  const uint64_t due = *deadline * kTick;
  return due > now ? (due - now + kTick - 1) / kTick : 0;
}

}  // namespace warren::net
