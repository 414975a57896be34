// RingBuffer against a deque: the same bytes in the same order after every step.
#include <deque>
#include <utility>
#include <vector>

#include "base/ring_buffer.h"
#include "fuzz.h"

namespace warren::fuzz {
namespace {

using base::RingBuffer;

class Both {
 public:
  void step(Input& input) {
    switch (input.byte() % 8) {
      case 0:
      case 1:
        return append(input.magnitude(kMost));
      case 2:
        return appendItself(input);
      case 3:
      case 4:
        return consume(input.magnitude(kMost));
      case 5:
        return reserve(input);
      case 6:
        return forget(input.byte() % 2 != 0);
      default:
        return move(input.byte());
    }
  }

  void requireSame() const {
    const auto [first, second] = ring_.readable();
    require(ring_.size() == model_.size() && ring_.empty() == model_.empty());
    require(first.size() + second.size() == model_.size());
    require(second.empty() || !first.empty());
    const auto middle = model_.begin() + static_cast<std::ptrdiff_t>(first.size());
    require(std::equal(first.begin(), first.end(), model_.begin()));
    require(std::equal(second.begin(), second.end(), middle));
    require(ring_.capacity() >= ring_.size());
    require((ring_.capacity() & (ring_.capacity() - 1)) == 0);
  }

 private:
  static constexpr size_t kMost = size_t{64} << 10;

  void append(size_t size) {
    if (model_.size() > 4 * kMost) return;
    std::vector<std::byte> fresh(size);
    for (std::byte& each : fresh) each = static_cast<std::byte>(next_++);
    require(ring_.append(fresh));
    model_.insert(model_.end(), fresh.begin(), fresh.end());
  }

  // A part of what it holds, which growing must not pull away.
  void appendItself(Input& input) {
    const Bytes part = ring_.readable()[input.byte() % 2];
    const size_t start = input.magnitude(part.size());
    const Bytes some = part.subspan(start, input.magnitude(part.size() - start));
    if (model_.size() > 4 * kMost) return;
    const std::vector<std::byte> copy(some.begin(), some.end());
    require(ring_.append(some));
    model_.insert(model_.end(), copy.begin(), copy.end());
  }

  void consume(size_t size) {
    const size_t count = std::min(size, model_.size());
    ring_.consume(count);
    model_.erase(model_.begin(), model_.begin() + static_cast<std::ptrdiff_t>(count));
  }

  // What cannot be had changes nothing.
  void reserve(Input& input) {
    const size_t total = input.byte() % 2 != 0 ? SIZE_MAX - input.byte() : input.magnitude(kMost);
    const size_t before = ring_.capacity();
    const bool done = ring_.reserve(total);
    require(done == (total <= kMost));
    require(ring_.capacity() >= (done ? total : before));
    require(done || ring_.capacity() == before);
  }

  void forget(bool block) {
    block ? ring_.release() : ring_.clear();
    model_.clear();
    require(!block || ring_.capacity() == 0);
  }

  void move(uint8_t choice) {
    RingBuffer other;
    if (choice % 2 != 0) require(other.append(asBytes("old")));
    if (choice % 3 == 0) {
      RingBuffer& itself = ring_;
      ring_ = std::move(itself);
      return;
    }
    other = std::move(ring_);
    require(ring_.empty() && ring_.capacity() == 0);
    require(choice % 5 != 0 || ring_.append(asBytes("between")));
    ring_ = RingBuffer(std::move(other));
  }

  RingBuffer ring_;
  std::deque<std::byte> model_;
  uint8_t next_ = 0;
};

void run(Bytes bytes) {
  Input input(bytes);
  Both both;
  both.requireSame();
  for (int steps = 0; !input.empty() && steps < 200; ++steps) {
    both.step(input);
    both.requireSame();
  }
}

const Target target("ring_buffer", run);

}  // namespace
}  // namespace warren::fuzz
