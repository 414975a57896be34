// Slab against a list of what was taken: ids find their slot until it is taken again, and nothing
// else; slots never move, never overlap and keep their bytes.
#include <cstring>
#include <map>
#include <vector>

#include "base/slab.h"
#include "fuzz.h"

namespace warren::fuzz {
namespace {

using base::Slab;
using base::Slot;
using base::SlotId;

struct Taken {
  Slot* slot;
  SlotId id;
  size_t size;
  uint8_t fill;
};

class Model {
 public:
  void step(Input& input) {
    switch (input.byte() % 8) {
      case 0:
      case 1:
      case 2:
        return take(sizeOf(input), size_t{1} << input.below(9));
      case 3:
        return takeMany(input.below(200));
      case 4:
        return give(input.byte());
      case 5:
        return giveAll();
      case 6:
        return reserve(input);
      default:
        return ask(input);
    }
  }

  void requireWhole() const {
    require(slab_.slotsInUse() == live_.size());
    require(slab_.slotCount() >= live_.size() && slab_.slotCount() % Slab::kSlotsPerPage == 0);
    for (const Taken& each : live_) {
      require(slab_.find(each.id) == each.slot && slab_.at(each.id.index) == each.slot);
      require(each.slot->id() == each.id);
      requireBytes(each);
    }
    for (const auto& [index, gone] : gone_) require(slab_.find(gone.id) == gone.slot);
    for (const SlotId& id : stale_) require(slab_.find(id) == nullptr);
  }

 private:
  static size_t sizeOf(Input& input) { return sizeof(Slot) + input.below(4) * 40; }

  static void requireBytes(const Taken& taken) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(taken.slot) + sizeof(Slot);
    for (size_t at = 0; at < taken.size - sizeof(Slot); ++at) require(bytes[at] == taken.fill);
  }

  void take(size_t size, size_t align) {
    if (slab_.memory() > (size_t{1} << 20)) return;
    Slot* slot = slab_.take(size, align);
    require(slot != nullptr && reinterpret_cast<uintptr_t>(slot) % align == 0);
    const Taken taken{slot, slot->id(), size, static_cast<uint8_t>(next_++)};
    require(taken.id.generation != 0);
    if (const auto before = gone_.find(taken.id.index); before != gone_.end()) {
      require(before->second.slot == slot && before->second.id.generation != taken.id.generation);
      if (before->second.size == size) requireBytes(before->second);  // as its last owner left it
      stale_.push_back(before->second.id);
      gone_.erase(before);
    }
    std::memset(reinterpret_cast<uint8_t*>(slot) + sizeof(Slot), taken.fill, size - sizeof(Slot));
    live_.push_back(taken);
  }

  void takeMany(size_t count) {
    for (size_t at = 0; at < count; ++at) take(sizeof(Slot) + 24, 8);
  }

  void give(size_t choice) {
    if (live_.empty()) return;
    const auto chosen = live_.begin() + static_cast<std::ptrdiff_t>(choice % live_.size());
    slab_.give(*chosen->slot);
    gone_.emplace(chosen->id.index, *chosen);
    live_.erase(chosen);
  }

  void giveAll() {
    while (!live_.empty()) give(0);
  }

  void reserve(Input& input) {
    if (input.byte() % 4 == 0) {
      require(!slab_.reserve(sizeof(Slot), 8, size_t{Slab::kMaxSlots} + 1));
      require(!slab_.reserve(Slab::kMaxSlotSize + input.byte() + size_t{1}, 8, 1));
      require(slab_.take(Slab::kMaxSlotSize + size_t{1}, 8) == nullptr);
      return;
    }
    const size_t before = slab_.slotCount();
    const size_t count = input.below(200);
    if (slab_.memory() > (size_t{1} << 20)) return;
    require(slab_.reserve(sizeOf(input), 8, count));
    const size_t memory = slab_.memory();
    require(slab_.slotCount() >= std::max(before, count));
    require(memory >= slab_.slotCount() * sizeof(Slot));
  }

  // An id of somebody's invention.
  void ask(Input& input) {
    const SlotId id{static_cast<uint32_t>(input.number(2)), static_cast<uint32_t>(input.byte())};
    const Slot* found = slab_.find(id);
    require(found == nullptr || found->id() == id);
    require(slab_.find({id.index, 0}) == nullptr);
    require(slab_.find({id.index | 1u << 31, 1}) == nullptr);
  }

  Slab slab_;
  std::vector<Taken> live_;
  std::map<uint32_t, Taken> gone_;  // given back, not taken again: their ids still find them
  std::vector<SlotId> stale_;
  uint32_t next_ = 0;
};

void run(Bytes bytes) {
  Input input(bytes);
  Model model;
  for (int steps = 0; !input.empty() && steps < 100; ++steps) {
    model.step(input);
    model.requireWhole();
  }
}

const Target target("slab", run);

}  // namespace
}  // namespace warren::fuzz
