#include "base/slab.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "support/aborts.h"
#include "support/catch.h"

using warren::base::Slab;
using warren::base::Slot;
using warren::base::SlotId;

namespace {

constexpr size_t kSize = 96;
constexpr size_t kAlign = 8;

std::byte* bodyOf(Slot* slot) { return reinterpret_cast<std::byte*>(slot) + sizeof(Slot); }

bool bodyIs(Slot* slot, size_t size, std::byte value) {
  for (size_t index = 0; index < size - sizeof(Slot); ++index) {
    if (bodyOf(slot)[index] != value) return false;
  }
  return true;
}

std::byte markOf(SlotId id) {
  return static_cast<std::byte>(id.index * 31 + id.generation * 7 + 1);
}

long pageFaults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

}  // namespace

TEST_CASE("a taken slot is found by its id and by its index", "[slab]") {
  Slab slab;
  Slot* slot = slab.take(kSize, kAlign);
  REQUIRE(slot != nullptr);
  CHECK(slot->id().generation != 0);
  CHECK(slab.find(slot->id()) == slot);
  CHECK(slab.at(slot->index) == slot);
  CHECK(slab.slotsInUse() == 1);
  slab.give(*slot);
  CHECK(slab.slotsInUse() == 0);
}

TEST_CASE("ids that were never given find nothing", "[slab]") {
  Slab slab;
  CHECK(slab.find({}) == nullptr);
  CHECK(slab.find({0, 1}) == nullptr);
  Slot* slot = slab.take(kSize, kAlign);
  CHECK(slab.find({slot->index, 0}) == nullptr);
  CHECK(slab.find({slot->index, slot->generation + 1}) == nullptr);
  CHECK(slab.find({slot->index, slot->generation - 1}) == nullptr);
  CHECK(slab.find({slot->index + 1, 0}) == nullptr);  // of the same page, not taken yet
  CHECK(slab.find({slot->index + 1, 1}) == nullptr);
  CHECK(slab.find({Slab::kSlotsPerPage, 1}) == nullptr);
  CHECK(slab.find({Slab::kMaxSlots, 1}) == nullptr);
  CHECK(slab.find({UINT32_MAX, UINT32_MAX}) == nullptr);
}

TEST_CASE("a freed slot keeps its id and its bytes until it is taken again", "[slab]") {
  Slab slab;
  Slot* slot = slab.take(kSize, kAlign);
  const SlotId id = slot->id();
  std::memset(bodyOf(slot), 0x5a, kSize - sizeof(Slot));
  slab.give(*slot);
  REQUIRE(slab.find(id) == slot);
  CHECK(slot->id() == id);
  CHECK(bodyIs(slot, kSize, std::byte{0x5a}));

  while (slab.take(kSize, kAlign) != slot) {
  }
  CHECK(slab.find(id) == nullptr);
  CHECK(slot->index == id.index);
  CHECK(slot->generation == id.generation + 1);
  CHECK(bodyIs(slot, kSize, std::byte{0x5a}));
}

TEST_CASE("fresh slots are zero", "[slab]") {
  Slab slab;
  for (uint32_t count = 0; count < 3 * Slab::kSlotsPerPage; ++count) {
    REQUIRE(bodyIs(slab.take(kSize, kAlign), kSize, std::byte{0}));
  }
}

TEST_CASE("slots are taken again in the order they were given", "[slab]") {
  Slab slab;
  std::vector<Slot*> slots;
  for (uint32_t count = 0; count < 2 * Slab::kSlotsPerPage; ++count) {
    slots.push_back(slab.take(kSize, kAlign));
  }
  std::shuffle(slots.begin(), slots.end(), std::mt19937(1));
  for (Slot* slot : slots) slab.give(*slot);
  for (Slot* slot : slots) REQUIRE(slab.take(kSize, kAlign) == slot);
  CHECK(slab.slotCount() == 2 * Slab::kSlotsPerPage);
}

TEST_CASE("a generation passes from the last number to 1", "[slab]") {
  Slab slab;
  Slot* slot = slab.take(kSize, kAlign);
  slot->generation = UINT32_MAX;
  slab.give(*slot);
  while (slab.take(kSize, kAlign) != slot) {
  }
  CHECK(slot->generation == 1);
  CHECK(slab.find({slot->index, 1}) == slot);
  CHECK(slab.find({slot->index, 0}) == nullptr);
}

TEST_CASE("slots are aligned as asked", "[slab]") {
  Slab slab;
  for (size_t align = 1; align <= 65536; align *= 2) {
    for (int count = 0; count < 3; ++count) {
      Slot* slot = slab.take(sizeof(Slot) + 1, align);
      REQUIRE(slot != nullptr);
      CHECK(reinterpret_cast<uintptr_t>(slot) % align == 0);
      std::memset(bodyOf(slot), 1, 1);
    }
  }
}

TEST_CASE("a slot that no page can hold is refused", "[slab]") {
  Slab slab;
  CHECK(slab.take(SIZE_MAX, kAlign) == nullptr);
  CHECK(slab.take(size_t{Slab::kMaxSlotSize} + 1, kAlign) == nullptr);
  CHECK(slab.take(kSize, size_t{Slab::kMaxSlotSize} * 2) == nullptr);
  CHECK(slab.slotCount() == 0);
}

TEST_CASE("reserve makes room in all, and refuses more than there are ids", "[slab]") {
  Slab slab;
  CHECK(slab.reserve(kSize, kAlign, 0));
  CHECK(slab.slotCount() == 0);
  CHECK(slab.reserve(kSize, kAlign, 65));
  CHECK(slab.slotCount() == 128);
  CHECK(slab.reserve(kSize, kAlign, 128));
  CHECK(slab.slotCount() == 128);
  CHECK(slab.reserve(kSize * 2, kAlign, 1));
  CHECK(slab.slotCount() == 192);
  CHECK_FALSE(slab.reserve(kSize, kAlign, size_t{Slab::kMaxSlots} + 1));
  CHECK_FALSE(slab.reserve(kSize, kAlign, SIZE_MAX));
  CHECK(slab.slotCount() == 192);

  const size_t memory = slab.memory();
  for (int count = 0; count < 128; ++count) REQUIRE(slab.take(kSize, kAlign) != nullptr);
  CHECK(slab.memory() == memory);
}

TEST_CASE("bookkeeping costs at most six bytes a slot", "[slab]") {
  for (const size_t align : {16u, 64u}) {
    for (const size_t pages : {1u, 2u, 3u, 17u, 1025u}) {
      Slab slab;
      const size_t count = pages * Slab::kSlotsPerPage;
      REQUIRE(slab.reserve(192, align, count));
      CHECK(slab.memory() - count * 192 <= 6 * count);
    }
  }
}

TEST_CASE("memory of slots that were never taken is not touched", "[slab]") {
  constexpr size_t kBig = size_t{1} << 20;
  Slab slab;
  const long before = pageFaults();
  REQUIRE(slab.reserve(kBig, 64, Slab::kSlotsPerPage));
  const long reserved = pageFaults() - before;
  CHECK(slab.find({7, 1}) == nullptr);
  for (uint32_t count = 0; count < Slab::kSlotsPerPage; ++count) {
    std::memset(bodyOf(slab.take(kBig, 64)), 1, kBig - sizeof(Slot));
  }
  const long touched = pageFaults() - before - reserved;
  CHECK(reserved < touched / 2);
}

TEST_CASE("giving a slot twice stops the program", "[slab]") {
  Slab slab;
  Slot* slot = slab.take(kSize, kAlign);
  slab.give(*slot);
  const std::string message = warren::test::abortMessage([&] { slab.give(*slot); });
  CHECK(message.find("check failed") != std::string::npos);
}

TEST_CASE("giving what was never taken stops the program", "[slab]") {
  using warren::test::abortMessage;
  Slab slab;
  Slot* slot = slab.take(kSize, kAlign);
  Slot foreign(slot->id());
  CHECK(abortMessage([&] { slab.give(foreign); }) != "");
  CHECK(abortMessage([&] { slab.give(*slab.at(slot->index + 1)); }) != "");
  slot->index = Slab::kMaxSlots;
  CHECK(abortMessage([&] { slab.give(*slot); }) != "");
}

TEST_CASE("slots of every kind stay apart under any order of take and give", "[slab]") {
  const auto seed = GENERATE(range(1u, 9u));
  CAPTURE(seed);
  std::mt19937 random(seed);
  const size_t sizes[] = {sizeof(Slot), 24, 100, 100, 4096};
  const size_t aligns[] = {4, 8, 8, 64, 256};

  struct Taken {
    Slot* slot;
    SlotId id;
    size_t size;
  };
  Slab slab;
  std::vector<Taken> taken;
  std::map<uint32_t, Taken> freed;  // by index, until taken again
  for (int step = 0; step < 4000; ++step) {
    if (taken.empty() || random() % 100 < (step / 1000 % 2 == 0 ? 60 : 40)) {
      const size_t kind = random() % 5;
      Slot* slot = slab.take(sizes[kind], aligns[kind]);
      REQUIRE(slot != nullptr);
      if (const auto old = freed.find(slot->index); old != freed.end()) {
        REQUIRE(slab.find(old->second.id) == nullptr);
        freed.erase(old);
      }
      std::memset(bodyOf(slot), std::to_integer<int>(markOf(slot->id())),
                  sizes[kind] - sizeof(Slot));
      taken.push_back({slot, slot->id(), sizes[kind]});
    } else {
      std::swap(taken[random() % taken.size()], taken.back());
      const Taken last = taken.back();
      taken.pop_back();
      REQUIRE(slab.find(last.id) == last.slot);
      REQUIRE(bodyIs(last.slot, last.size, markOf(last.id)));
      slab.give(*last.slot);
      freed.insert({last.id.index, last});
    }
    REQUIRE(slab.slotsInUse() == taken.size());
  }
  for (const auto& [index, old] : freed) {
    REQUIRE(slab.find(old.id) == old.slot);
    REQUIRE(bodyIs(old.slot, old.size, markOf(old.id)));
  }
}
