// TimerWheel: deadlines in milliseconds, O(1) to arm, re-arm and cancel, without allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace warren::base {

// The hook that an owner embeds. It is in at most one list: a bucket of the wheel or an expired list.
// Its owner cancels it before it dies.
struct WheelTimer {
  WheelTimer* next = nullptr;
  WheelTimer* prev = nullptr;  // nullptr: not armed
  uint64_t deadline = 0;       // a time of the wheel's clock

  bool armed() const { return prev != nullptr; }
};

// Timers that have expired, oldest deadline first; those of one deadline in the order of arming. A
// deadline that had passed when it was armed counts as the time it was armed at. A timer cancelled or
// armed again while it waits here leaves the list. Owner: the caller of `advance`, who empties it.
class ExpiredTimers {
 public:
  ExpiredTimers() { root_.next = root_.prev = &root_; }
  ExpiredTimers(const ExpiredTimers&) = delete;
  ExpiredTimers& operator=(const ExpiredTimers&) = delete;

  bool empty() const { return root_.next == &root_; }
  // Unlinks and returns the first; nullptr when there is none.
  WheelTimer* pop();

 private:
  friend class TimerWheel;
  WheelTimer root_;
  size_t* armedCount_ = nullptr;  // the wheel's
};

// A hierarchical wheel: kLevels levels of 64 buckets, a bucket of level L being 64^L ms wide. Time is
// whatever clock the owner gives to `advance`, in milliseconds.
//
// Promise: a timer expires in the first `advance` whose time is not before its deadline, and never in
// an earlier one.
//
// Invariant: a timer lies at the level of the highest base-64 digit in which its deadline differs from
// now(), in the bucket which that digit numbers. So the buckets of a level lie ahead of now(), those of
// lower levels come first, and timers of one deadline are always in one bucket, in the order of arming.
class TimerWheel {
 public:
  static constexpr size_t kLevels = 11;  // all digits of a 64-bit time: no deadline is too far
  static constexpr size_t kBuckets = 64;

  explicit TimerWheel(uint64_t now = 0);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // The time of the last `advance`.
  uint64_t now() const { return now_; }

  // The timers that are armed, those that wait in an expired list among them.
  size_t count() const { return count_; }
  bool empty() const { return count_ == 0; }

  // Arms `timer` for `deadline`, taking it out of wherever it was. A deadline that is not after now()
  // expires in the next advance.
  void arm(WheelTimer& timer, uint64_t deadline);

  // Takes `timer` out of wherever it is; harmless when it is not armed.
  void cancel(WheelTimer& timer);

  // Moves time forward to `now` and all that has expired to the end of `expired`. A `now` that lies
  // before now() (clocks have bugs too) counts as now().
  void advance(uint64_t now, ExpiredTimers& expired);

  // A time at which `advance` should be called next: no later than the earliest deadline (now() if that
  // has passed), which at most kLevels such steps reach. nullopt when the wheel holds no timer; those in
  // an expired list have left it. Costs O(kLevels).
  std::optional<uint64_t> nextDeadline() const;

 private:
  struct Level {
    uint64_t occupied = 0;                     // one bit a bucket
    std::array<WheelTimer, kBuckets> buckets;  // list roots
  };

  size_t firstLevel() const;
  uint64_t firstStart(size_t level) const;
  WheelTimer& bucketFor(uint64_t deadline);
  void append(WheelTimer& root, WheelTimer& timer);
  void unlink(WheelTimer& timer);
  void updateBit(const WheelTimer& root);

  uint64_t now_;
  size_t count_ = 0;
  std::array<Level, kLevels> levels_;
};

}  // namespace warren::base
