// What fuzz targets are made of: a name, an input and promises.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "warren/bytes.h"

namespace warren::fuzz {

// One for each x_fuzz.cc: `const Target target("x", run);` at the top level. A fuzzing engine runs the
// only one of its program; the replay program has all of them.
struct Target {
  using Run = void (*)(Bytes input);

  Target(const char* ownName, Run ownRun) : name(ownName), run(ownRun) { all().push_back(this); }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  static std::vector<const Target*>& all() {
    static std::vector<const Target*> targets;
    return targets;
  }

  const char* name;
  Run run;
};

// Ends the program where it was called, unless the promise holds.
inline void require(bool promise, const char* file = __builtin_FILE(),
                    int line = __builtin_LINE()) {
  if (!promise) base::checkFailed(file, line, "a promise of the fuzz target");
}

// The fuzzer's bytes as a row of decisions. Behind the last of them everything is 0.
class Input {
 public:
  explicit Input(Bytes bytes) : left_(bytes) {}

  bool empty() const { return left_.empty(); }
  size_t size() const { return left_.size(); }

  // Little-endian.
  uint64_t number(size_t bytes) {
    uint64_t value = 0;
    for (size_t at = 0; at < bytes; ++at) value |= uint64_t{byte()} << (8 * at);
    return value;
  }
  uint8_t byte() {
    if (left_.empty()) return 0;
    const auto value = static_cast<uint8_t>(left_.front());
    left_ = left_.subspan(1);
    return value;
  }
  // 0..bound-1, from one byte or two.
  size_t below(size_t bound) {
    return static_cast<size_t>(number(bound > 256 ? 2 : 1)) % std::max(bound, size_t{1});
  }
  // Sizes of all magnitudes: small ones, powers of two and their neighbours.
  size_t magnitude(size_t most) {
    const size_t choice = byte();
    const size_t size = choice < 192 ? choice : (size_t{1} << (choice % 20)) + choice % 3 - 1;
    return std::min(size, most);
  }
  Bytes take(size_t count) {
    const Bytes front = left_.first(std::min(count, left_.size()));
    left_ = left_.subspan(front.size());
    return front;
  }
  Bytes rest() { return take(left_.size()); }

 private:
  Bytes left_;
};

}  // namespace warren::fuzz
