// Duration: a span of time as options and timers take it.
#pragma once

#include <chrono>
#include <cstdint>

namespace warren {

// Any std::chrono duration, kept as whole milliseconds and rounded up, so that nothing is early. What
// cannot be one is remembered as such and refused, with a message, by whatever it is given to: spans
// below zero, not-a-number, and spans of more than 100 years.
class Duration {
 public:
  constexpr Duration() = default;  // zero

  template <class Rep, class Period>
  constexpr Duration(std::chrono::duration<Rep, Period> span) {
    const std::chrono::duration<double, std::milli> wide = span;
    if (!(wide.count() >= 0)) {
      milliseconds_ = kNegative;
    } else if (wide.count() > static_cast<double>(kMax)) {
      milliseconds_ = kTooLong;
    } else {
      milliseconds_ = std::chrono::ceil<std::chrono::milliseconds>(span).count();
    }
  }

  constexpr bool valid() const { return milliseconds_ >= 0; }
  constexpr bool zero() const { return milliseconds_ == 0; }
  constexpr bool tooLong() const { return milliseconds_ == kTooLong; }

  // Whole milliseconds of a valid duration.
  constexpr uint64_t count() const { return static_cast<uint64_t>(milliseconds_); }

  // Why it is not valid, for messages.
  constexpr const char* problem() const {
    return milliseconds_ == kNegative ? "is below zero or not a number" : "is above 100 years";
  }

 private:
  static constexpr int64_t kMax = int64_t{100} * 366 * 24 * 3600 * 1000;
  static constexpr int64_t kNegative = -1;
  static constexpr int64_t kTooLong = -2;

  int64_t milliseconds_ = 0;
};

}  // namespace warren
