// TimerWheel against a plain list: who expires when, and in which order.
#include <array>
#include <vector>

#include "base/timer_wheel.h"
#include "fuzz.h"

namespace warren::fuzz {
namespace {

using base::ExpiredTimers;
using base::TimerWheel;
using base::WheelTimer;

constexpr size_t kTimers = 12;

class Model {
 public:
  explicit Model(uint64_t now) : wheel_(now), now_(now) {}
  ~Model() {
    for (WheelTimer& each : timers_) wheel_.cancel(each);
    require(wheel_.empty() && expired_.empty());
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  void step(Input& input) {
    switch (input.byte() % 8) {
      case 0:
      case 1:
      case 2:
        return arm(input.below(kTimers), deadline(input));
      case 3:
        return cancel(input.below(kTimers));
      case 4:
        return advance(deadline(input));
      case 5:
        return follow();
      case 6:
        return pop();
      default:
        return popAll();
    }
  }

  void requireSame() const {
    require(wheel_.now() == now_);
    require(wheel_.count() == armed_.size() + due_.size());
    require(wheel_.empty() == (armed_.empty() && due_.empty()));
    require(expired_.empty() == due_.empty());
    for (const WheelTimer& each : timers_) {
      const size_t index = static_cast<size_t>(&each - timers_.data());
      require(each.armed() == (within(armed_, index) || within(due_, index)));
    }
    const std::optional<uint64_t> next = wheel_.nextDeadline();
    require(next.has_value() == !armed_.empty());
    if (!next) return;
    require(*next >= now_);
    for (const Armed& each : armed_) require(*next <= each.time);
  }

 private:
  // `time` is the deadline, or the time of arming when that was later.
  struct Armed {
    size_t timer;
    uint64_t time;
  };

  static bool within(const std::vector<Armed>& list, size_t timer) {
    return std::any_of(list.begin(), list.end(), [&](const Armed& x) { return x.timer == timer; });
  }

  // Distances of every magnitude, the past and the end of time.
  uint64_t deadline(Input& input) const {
    const uint8_t choice = input.byte();
    if (choice < 128) return now_ + std::min<uint64_t>(choice, UINT64_MAX - now_);
    if (choice == 128) return now_ - std::min<uint64_t>(now_, input.byte());
    if (choice == 129) return UINT64_MAX - input.byte();
    const uint64_t far = uint64_t{1} << (choice % 64);
    const uint64_t more = far - 2 + input.byte() % 4;
    return now_ + std::min(more, UINT64_MAX - now_);
  }

  void arm(size_t index, uint64_t deadline) {
    wheel_.arm(timers_[index], deadline);
    remove(index);
    armed_.push_back({index, std::max(deadline, now_)});
  }

  void cancel(size_t index) {
    wheel_.cancel(timers_[index]);
    remove(index);
  }

  void remove(size_t index) {
    const auto same = [&](const Armed& each) { return each.timer == index; };
    std::erase_if(armed_, same);
    std::erase_if(due_, same);
  }

  void advance(uint64_t to) {
    wheel_.advance(to, expired_);
    now_ = std::max(now_, to);
    std::vector<Armed> fresh;
    for (const Armed& each : armed_) {
      if (each.time <= now_) fresh.push_back(each);
    }
    std::erase_if(armed_, [&](const Armed& each) { return each.time <= now_; });
    std::stable_sort(fresh.begin(), fresh.end(),
                     [](const Armed& a, const Armed& b) { return a.time < b.time; });
    due_.insert(due_.end(), fresh.begin(), fresh.end());
  }

  // Following nextDeadline reaches the earliest timer within as many steps as there are levels.
  void follow() {
    const size_t before = due_.size();
    for (size_t steps = 0; !armed_.empty() && due_.size() == before; ++steps) {
      require(steps <= TimerWheel::kLevels);
      advance(*wheel_.nextDeadline());
    }
  }

  void pop() {
    WheelTimer* first = expired_.pop();
    require((first == nullptr) == due_.empty());
    if (first == nullptr) return;
    require(first == &timers_[due_.front().timer] && !first->armed());
    require(first->deadline <= now_);
    due_.erase(due_.begin());
  }

  void popAll() {
    while (!expired_.empty()) pop();
    require(due_.empty());
  }

  TimerWheel wheel_;
  ExpiredTimers expired_;
  std::array<WheelTimer, kTimers> timers_;
  uint64_t now_;
  std::vector<Armed> armed_;  // in the order of arming
  std::vector<Armed> due_;    // in the order of expiry
};

void run(Bytes bytes) {
  Input input(bytes);
  Model model(input.number(1 + input.byte() % 8));
  model.requireSame();
  while (!input.empty()) {
    model.step(input);
    model.requireSame();
  }
}

const Target target("timer_wheel", run);

}  // namespace
}  // namespace warren::fuzz
