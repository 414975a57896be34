#include "base/timer_wheel.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace warren::base {
namespace {

constexpr size_t kDigitBits = 6;
static_assert(1 << kDigitBits == TimerWheel::kBuckets);
static_assert(kDigitBits * TimerWheel::kLevels >= 64, "every deadline has a level");

constexpr size_t digitOf(uint64_t time, size_t level) {
  return static_cast<size_t>((time >> (kDigitBits * level)) % TimerWheel::kBuckets);
}

void detach(WheelTimer& timer) {
  timer.prev->next = timer.next;
  timer.next->prev = timer.prev;
  timer.next = timer.prev = nullptr;
}

}  // namespace

WheelTimer* ExpiredTimers::pop() {
  if (empty()) return nullptr;
  WheelTimer* first = root_.next;
  detach(*first);
  --*armedCount_;
  return first;
}

// A root has no deadline of its own; it keeps its bucket's number there, counted from 1. The root
// of an expired list has 0.
TimerWheel::TimerWheel(uint64_t now) : now_(now) {
  uint64_t number = 0;
  for (Level& level : levels_) {
    for (WheelTimer& root : level.buckets) root = {&root, &root, ++number};
  }
}

void TimerWheel::arm(WheelTimer& timer, uint64_t deadline) {
  cancel(timer);
  timer.deadline = deadline;
  append(bucketFor(deadline), timer);
  ++count_;
}

void TimerWheel::cancel(WheelTimer& timer) {
  if (!timer.armed()) return;
  WARREN_CHECK(count_ > 0);
  unlink(timer);
  --count_;
}

// Goes from one occupied bucket to the next, however far apart they are. A timer moves down one
// level or more each time, so it moves at most kLevels times in its life.
void TimerWheel::advance(uint64_t now, ExpiredTimers& expired) {
  expired.armedCount_ = &count_;
  now = std::max(now, now_);
  for (size_t level = firstLevel(); level < kLevels && firstStart(level) <= now;
       level = firstLevel()) {
    now_ = firstStart(level);
    WheelTimer& root = levels_[level].buckets[digitOf(now_, level)];
    while (root.next != &root) {
      WheelTimer& timer = *root.next;
      unlink(timer);
      append(level == 0 ? expired.root_ : bucketFor(timer.deadline), timer);
    }
  }
  now_ = now;
}

std::optional<uint64_t> TimerWheel::nextDeadline() const {
  if (empty()) return std::nullopt;
  const size_t level = firstLevel();
  if (level == kLevels) return std::nullopt;
  return firstStart(level);
}

// The level of the earliest timer; kLevels when there is none.
size_t TimerWheel::firstLevel() const {
  size_t level = 0;
  while (level < kLevels && levels_[level].occupied == 0) ++level;
  return level;
}

// When the first occupied bucket of `level` begins.
uint64_t TimerWheel::firstStart(size_t level) const {
  const auto bucket = static_cast<size_t>(std::countr_zero(levels_[level].occupied));
  WARREN_CHECK(bucket >= digitOf(now_, level));
  const size_t shift = kDigitBits * level;
  return ((now_ >> shift) - digitOf(now_, level) + bucket) << shift;
}

WheelTimer& TimerWheel::bucketFor(uint64_t deadline) {
  const uint64_t time = std::max(deadline, now_);
  const auto highestBit = static_cast<size_t>(std::bit_width((time ^ now_) | 1) - 1);
  const size_t level = highestBit / kDigitBits;
  return levels_[level].buckets[digitOf(time, level)];
}

void TimerWheel::append(WheelTimer& root, WheelTimer& timer) {
  timer.next = &root;
  timer.prev = root.prev;
  root.prev->next = &timer;
  root.prev = &timer;
  updateBit(root);
}

void TimerWheel::unlink(WheelTimer& timer) {
  WheelTimer& neighbour = *timer.next;
  detach(timer);
  const bool alone = neighbour.next == &neighbour;  // a list without timers is its root
  if (alone) updateBit(neighbour);
}

// Keeps the bit of a bucket in step with its list.
void TimerWheel::updateBit(const WheelTimer& root) {
  if (root.deadline == 0) return;
  const auto number = static_cast<size_t>(root.deadline - 1);
  const uint64_t bit = uint64_t{1} << (number % kBuckets);
  uint64_t& occupied = levels_[number / kBuckets].occupied;
  occupied = root.next == &root ? occupied & ~bit : occupied | bit;
}

}  // namespace warren::base
