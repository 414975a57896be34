#include "base/timer_wheel.h"

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <vector>

#include "support/catch.h"

using warren::base::ExpiredTimers;
using warren::base::TimerWheel;
using warren::base::WheelTimer;

namespace {

// Advances to `now` and gives what expired, in order.
std::vector<WheelTimer*> expiredAt(TimerWheel& wheel, uint64_t now) {
  ExpiredTimers expired;
  wheel.advance(now, expired);
  std::vector<WheelTimer*> timers;
  while (WheelTimer* timer = expired.pop()) timers.push_back(timer);
  return timers;
}

using Timers = std::vector<WheelTimer*>;

constexpr uint64_t kSpans[] = {1,
                               64,
                               64 * 64,
                               64 * 64 * 64,
                               uint64_t{1} << 24,
                               uint64_t{1} << 30,
                               uint64_t{1} << 36,
                               uint64_t{1} << 42,
                               uint64_t{1} << 60};

}  // namespace

TEST_CASE("an empty wheel has no next deadline and expires nothing", "[timer_wheel]") {
  TimerWheel wheel(77);
  CHECK(wheel.empty());
  CHECK(wheel.now() == 77);
  CHECK_FALSE(wheel.nextDeadline().has_value());
  CHECK(expiredAt(wheel, UINT64_MAX).empty());
  CHECK(wheel.now() == UINT64_MAX);
}

TEST_CASE("a timer expires at its deadline, never before, from every phase and at every distance",
          "[timer_wheel]") {
  for (const uint64_t start :
       {uint64_t{0}, uint64_t{1}, uint64_t{63}, uint64_t{64}, uint64_t{4095}, uint64_t{4096},
        (uint64_t{1} << 36) - 1, uint64_t{1} << 36, uint64_t{0x123456789ab}}) {
    for (const uint64_t span : kSpans) {
      for (uint64_t phase = 0; phase < 5; ++phase) {
        TimerWheel wheel(start);
        WheelTimer timer;
        const uint64_t deadline = start + span + phase - 2;
        if (deadline < start) continue;
        wheel.arm(timer, deadline);
        CAPTURE(start, deadline);
        if (deadline > start) {
          REQUIRE(expiredAt(wheel, deadline - 1).empty());
          REQUIRE(timer.armed());
        }
        REQUIRE(expiredAt(wheel, deadline) == Timers{&timer});
        REQUIRE_FALSE(timer.armed());
        REQUIRE(wheel.empty());
      }
    }
  }
}

TEST_CASE("advancing one millisecond at a time is never early and exact", "[timer_wheel]") {
  const auto start = GENERATE(range(uint64_t{0}, uint64_t{130}, uint64_t{7}));
  CAPTURE(start);
  TimerWheel wheel(start);
  std::deque<WheelTimer> timers(9000);
  for (size_t delay = 0; delay < timers.size(); ++delay) wheel.arm(timers[delay], start + delay);
  for (size_t delay = 0; delay < timers.size(); ++delay) {
    REQUIRE(expiredAt(wheel, start + delay) == Timers{&timers[delay]});
  }
}

TEST_CASE("a deadline that is not in the future expires in the next advance", "[timer_wheel]") {
  TimerWheel wheel(1000);
  WheelTimer zero, past, present;
  wheel.arm(zero, 0);
  wheel.arm(past, 999);
  wheel.arm(present, 1000);
  CHECK(wheel.nextDeadline() == 1000u);
  CHECK(expiredAt(wheel, 1000) == Timers{&zero, &past, &present});
  wheel.arm(past, 3);
  CHECK(expiredAt(wheel, 5000) == Timers{&past});
  CHECK(past.deadline == 3);
}

TEST_CASE("a deadline at the end of time can be armed, and is reached", "[timer_wheel]") {
  TimerWheel wheel(12345);
  WheelTimer last, almost;
  wheel.arm(last, UINT64_MAX);
  wheel.arm(almost, UINT64_MAX - 1);
  REQUIRE(wheel.nextDeadline().has_value());
  CHECK(expiredAt(wheel, uint64_t{1} << 40).empty());
  CHECK(expiredAt(wheel, UINT64_MAX - 2).empty());
  CHECK(expiredAt(wheel, UINT64_MAX - 1) == Timers{&almost});
  CHECK(expiredAt(wheel, UINT64_MAX) == Timers{&last});
  wheel.arm(last, UINT64_MAX);
  CHECK(expiredAt(wheel, UINT64_MAX) == Timers{&last});
}

TEST_CASE("time does not run backwards", "[timer_wheel]") {
  TimerWheel wheel(500);
  WheelTimer due, later;
  wheel.arm(due, 500);
  wheel.arm(later, 501);
  CHECK(expiredAt(wheel, 3) == Timers{&due});
  CHECK(wheel.now() == 500);
  CHECK(expiredAt(wheel, 501) == Timers{&later});
}

TEST_CASE("a jump expires the oldest deadline first, equal ones in the order of arming",
          "[timer_wheel]") {
  TimerWheel wheel;
  std::deque<WheelTimer> timers(6);
  wheel.arm(timers[0], 100'000);
  wheel.arm(timers[1], 5);
  wheel.arm(timers[2], 100'000);
  wheel.arm(timers[3], 70);
  CHECK(expiredAt(wheel, 90) == Timers{&timers[1], &timers[3]});
  wheel.arm(timers[4], 100'000);
  wheel.arm(timers[5], 91);
  wheel.arm(timers[0], 100'000);  // again: goes behind
  CHECK(expiredAt(wheel, uint64_t{1} << 50) ==
        Timers{&timers[5], &timers[2], &timers[4], &timers[0]});
}

TEST_CASE("arming again moves a timer, and cancelling takes it out", "[timer_wheel]") {
  TimerWheel wheel;
  WheelTimer timer, other;
  wheel.cancel(timer);  // harmless
  wheel.arm(timer, 10);
  wheel.arm(timer, 100);
  CHECK(wheel.count() == 1);
  CHECK(expiredAt(wheel, 99).empty());
  wheel.arm(other, 100);
  wheel.cancel(timer);
  wheel.cancel(timer);
  CHECK_FALSE(timer.armed());
  CHECK(wheel.count() == 1);
  CHECK(expiredAt(wheel, 100) == Timers{&other});
  CHECK_FALSE(wheel.nextDeadline().has_value());
}

TEST_CASE("a handler may cancel or re-arm a timer that has expired with its own", "[timer_wheel]") {
  TimerWheel wheel;
  WheelTimer first, second, third, fourth;
  for (WheelTimer* timer : {&first, &second, &third, &fourth}) wheel.arm(*timer, 10);
  ExpiredTimers expired;
  wheel.advance(10, expired);
  CHECK(wheel.count() == 4);
  CHECK_FALSE(wheel.nextDeadline().has_value());

  REQUIRE(expired.pop() == &first);
  wheel.cancel(second);  // the next one
  wheel.arm(third, 20);  // the one after
  wheel.arm(first, 10);  // itself: for the next advance, not for this list
  REQUIRE(expired.pop() == &fourth);
  REQUIRE(expired.pop() == nullptr);
  CHECK(expired.empty());
  CHECK(wheel.count() == 2);
  CHECK(expiredAt(wheel, 10) == Timers{&first});
  CHECK(expiredAt(wheel, 20) == Timers{&third});
  CHECK(wheel.empty());
}

TEST_CASE("what an expired list still holds stays in front of what expires later",
          "[timer_wheel]") {
  TimerWheel wheel;
  WheelTimer first, second;
  wheel.arm(first, 10);
  wheel.arm(second, 11);
  ExpiredTimers expired;
  wheel.advance(10, expired);
  wheel.advance(11, expired);
  CHECK(expired.pop() == &first);
  CHECK(expired.pop() == &second);
}

TEST_CASE("the next deadline is reached in at most one step a level, and is never late",
          "[timer_wheel]") {
  const auto seed = GENERATE(range(1u, 201u));
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  TimerWheel wheel(random() >> (random() % 64));
  std::deque<WheelTimer> timers(static_cast<size_t>(1 + random() % 5));
  uint64_t earliest = UINT64_MAX;
  for (WheelTimer& timer : timers) {
    const uint64_t deadline = std::max(wheel.now(), random() >> (random() % 64));
    wheel.arm(timer, deadline);
    earliest = std::min(earliest, deadline);
  }
  for (size_t steps = 1;; ++steps) {
    REQUIRE(steps <= TimerWheel::kLevels);
    const auto next = wheel.nextDeadline();
    REQUIRE(next.has_value());
    REQUIRE(*next <= earliest);
    if (!expiredAt(wheel, *next).empty()) break;
  }
  CHECK(wheel.now() == earliest);
}

TEST_CASE("a jump costs what it expires, however far it goes", "[timer_wheel]") {
  // Each round would take hours if it looked at every millisecond, or at every turn of some level.
  TimerWheel wheel;
  WheelTimer timer, far;
  wheel.arm(far, UINT64_MAX);
  for (uint64_t round = 1; round < 4000; ++round) {
    wheel.arm(timer, wheel.now() + (uint64_t{1} << 51));
    REQUIRE(expiredAt(wheel, wheel.now() + (uint64_t{1} << 52)) == Timers{&timer});
  }
  CHECK(far.armed());
  wheel.cancel(far);
}

TEST_CASE("a wheel does what a sorted list does", "[timer_wheel]") {
  const auto seed = GENERATE(range(1u, 301u));
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const auto chance = [&random](uint64_t percent) { return random() % 100 < percent; };
  // Distances of every size, many of them small, and around the levels' boundaries.
  const auto distance = [&] {
    const uint64_t far = random() >> (chance(80) ? 44 + random() % 20 : 8 + random() % 56);
    return chance(20) ? (far & ~uint64_t{63}) : far;
  };

  TimerWheel wheel(random() >> (1 + random() % 63));
  std::deque<WheelTimer> timers(40);
  std::multimap<uint64_t, WheelTimer*> model;  // equal keys stay in the order of insertion
  const auto forget = [&model](WheelTimer& timer) {
    std::erase_if(model, [&timer](const auto& entry) { return entry.second == &timer; });
  };
  const auto arm = [&](WheelTimer& timer) {
    const uint64_t now = wheel.now();
    const uint64_t deadline = chance(5) ? now - std::min(now, distance()) : now + distance();
    wheel.arm(timer, deadline);
    forget(timer);
    model.emplace(std::max(deadline, now), &timer);
  };
  const auto cancel = [&](WheelTimer& timer) {
    wheel.cancel(timer);
    forget(timer);
  };
  const auto any = [&]() -> WheelTimer& {
    return timers[static_cast<size_t>(random() % timers.size())];
  };

  for (int step = 0; step < 400; ++step) {
    if (chance(60)) arm(any());
    if (chance(20)) cancel(any());
    if (chance(50)) {
      const uint64_t now =
          chance(40) && wheel.nextDeadline() ? *wheel.nextDeadline() : wheel.now() + distance();
      ExpiredTimers expired;
      wheel.advance(now, expired);
      std::vector<WheelTimer*> due;
      const auto end = model.upper_bound(now);
      for (auto entry = model.begin(); entry != end; ++entry) due.push_back(entry->second);
      model.erase(model.begin(), end);
      // Handlers cancel and arm timers, their own and others that wait behind.
      while (WheelTimer* timer = expired.pop()) {
        REQUIRE_FALSE(due.empty());
        REQUIRE(timer == due.front());
        due.erase(due.begin());
        if (chance(30)) arm(*timer);
        if (chance(30)) {
          WheelTimer& other = any();
          chance(50) ? arm(other) : cancel(other);
          std::erase(due, &other);
        }
      }
      REQUIRE(due.empty());
      REQUIRE(wheel.now() == now);
    }
    REQUIRE(wheel.count() == model.size());
    REQUIRE(wheel.nextDeadline().has_value() == !model.empty());
    if (!model.empty()) REQUIRE(*wheel.nextDeadline() <= model.begin()->first);
    for (WheelTimer& timer : timers) {
      const bool known = std::any_of(model.begin(), model.end(),
                                     [&](const auto& entry) { return entry.second == &timer; });
      REQUIRE(timer.armed() == known);
    }
  }
}
