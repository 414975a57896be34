// Slab: everything with an identity lives here: sockets, listeners, dialers, timers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.h"

namespace warren::base {

// Names one use of one slot. A default SlotId names nothing.
struct SlotId {
  uint32_t index = 0;
  uint32_t generation = 0;  // never 0 for a slot in use

  bool operator==(const SlotId&) const = default;
};

// What every slot begins with. Objects that live in a slab derive from it and hand it the id that
// `take` has put there: `new (slot) Connection(slot->id(), ...)`. A constructor must not leave it to
// the memory: compilers forget what was stored in an object's place before its life begins.
struct Slot {
  explicit Slot(SlotId id) : index(id.index), generation(id.generation) {}

  SlotId id() const { return {index, generation}; }

  uint32_t index;
  uint32_t generation;
};

// A paged array of slots that never move. Pages hold `kSlotsPerPage` slots of one size; each size has
// a free list of its own, and all sizes share one numbering, so that an id alone finds its slot.
//
// Invariant: a slot's generation changes only when it is taken, so the id of a freed slot still finds
// the bytes its owner left there until the slot is taken again. Owners keep in the object whether it
// is alive; this is what lets a late question about a closed socket be answered. Such an object is
// emptied, not destroyed: compilers drop what a destructor stores in its own object.
class Slab {
 public:
  static constexpr uint32_t kSlotsPerPage = 64;
  static constexpr uint32_t kPageShift = 6;
  static constexpr uint32_t kMaxSlots = 1u << 28;  // a token has 28 bits for the index
  static constexpr uint32_t kMaxSlotSize = 1u << 24;

  Slab() = default;
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  // Takes a slot of at least `size` bytes (its Slot header included), aligned to `align`, a power of
  // two. Index and generation are set, the rest is as its last owner left it (zeros when fresh).
  // nullptr when there is no memory, kMaxSlots are in use, or a slot would exceed kMaxSlotSize.
  Slot* take(size_t size, size_t align);

  // The same for who takes many of one kind: asks once which it is.
  uint32_t kindOf(size_t size, size_t align);
  Slot* take(uint32_t kind);

  // Gives a slot back. The owner has let go of what was in it and calls this once.
  void give(Slot& slot);

  // Makes room for `count` slots of this kind in all ahead of time; their memory is not touched.
  // False when there is no memory; what could be had stays.
  [[nodiscard]] bool reserve(size_t size, size_t align, size_t count);
  [[nodiscard]] bool reserve(uint32_t kind, size_t count);

  // The slot that `id` names, in use or not yet taken again; nullptr for a stale or made-up id.
  Slot* find(SlotId id) const {
    const uint32_t page = id.index >> kPageShift;
    if (page >= pages_.count) return nullptr;
    Slot* slot = at(id.index);
    return slot->generation == id.generation && id.generation != 0 ? slot : nullptr;
  }

  // The slot at an index that came from this slab.
  Slot* at(uint32_t index) const {
    const Page& page = pages_.rows[index >> kPageShift];
    return reinterpret_cast<Slot*>(page.slots +
                                   size_t{index & (kSlotsPerPage - 1)} * page.slotSize);
  }

  size_t slotsInUse() const { return slotsInUse_; }
  size_t slotCount() const { return size_t{pages_.count} * kSlotsPerPage; }

  // Bytes of memory held: pages, directory and free lists.
  size_t memory() const;

 private:
  struct Page {
    std::byte* slots;
    uint32_t* links;  // one a slot: its place in a free list; also the start of the page's block
    uint32_t slotSize;
    uint32_t kind;  // row of kinds_
  };
  struct Kind {
    uint32_t slotSize;
    uint32_t align;
    uint32_t slotCount;
    // First in, first out: a slot rests as long as possible before it is taken again.
    uint32_t freeHead;
    uint32_t freeTail;
  };

  // A vector that can say no: std::vector throws, or aborts in builds without exceptions.
  template <class Row>
  struct Table {
    [[nodiscard]] bool append(const Row& row);

    Row* rows = nullptr;
    uint32_t count = 0;
    uint32_t capacity = 0;
  };

  bool addPage(uint32_t kind);
  void pushFree(Kind& kind, uint32_t index);
  uint32_t popFree(Kind& kind);
  uint32_t& linkOf(uint32_t index) const {
    return pages_.rows[index >> kPageShift].links[index & (kSlotsPerPage - 1)];
  }

  Table<Page> pages_;
  Table<Kind> kinds_;
  size_t slotsInUse_ = 0;
  size_t pageMemory_ = 0;
};

}  // namespace warren::base
