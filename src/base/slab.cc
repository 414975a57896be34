#include "base/slab.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <type_traits>

#include "base/memory.h"

namespace warren::base {
namespace {

constexpr uint32_t kNone = UINT32_MAX;       // no kind, no slot, and the link of a list's last
constexpr uint32_t kInUse = UINT32_MAX - 1;  // the link of a slot that is in no list
static_assert(Slab::kMaxSlots < kInUse);

constexpr size_t kHeapAlign = alignof(std::max_align_t);
constexpr size_t kLinksSize = Slab::kSlotsPerPage * sizeof(uint32_t);

template <class Integer>
constexpr Integer roundUp(Integer value, Integer align) {
  return (value + align - 1) & ~(align - 1);
}

}  // namespace

template <class Row>
bool Slab::Table<Row>::append(const Row& row) {
  static_assert(std::is_trivially_copyable_v<Row>, "realloc moves bytes");
  if (count == capacity) {
    const uint32_t more = std::max(1u, capacity * 2);
    void* moved = reallocate(rows, more * sizeof(Row));
    if (moved == nullptr) return false;
    rows = static_cast<Row*>(moved);
    capacity = more;
  }
  rows[count++] = row;
  return true;
}

Slab::~Slab() {
  for (uint32_t page = 0; page < pages_.count; ++page) std::free(pages_.rows[page].links);
  std::free(pages_.rows);
  std::free(kinds_.rows);
}

Slot* Slab::take(size_t size, size_t align) { return take(kindOf(size, align)); }

Slot* Slab::take(uint32_t kind) {
  if (kind == kNone) return nullptr;
  if (kinds_.rows[kind].freeHead == kNone && !addPage(kind)) return nullptr;

  const uint32_t index = popFree(kinds_.rows[kind]);
  const uint32_t generation = at(index)->generation + 1;
  ++slotsInUse_;
  WARREN_CHECK(slotsInUse_ <= slotCount());
  return new (at(index)) Slot({index, generation != 0 ? generation : 1});
}

void Slab::give(Slot& slot) {
  const uint32_t page = slot.index >> kPageShift;
  WARREN_CHECK(page < pages_.count);
  WARREN_CHECK(at(slot.index) == &slot);
  WARREN_CHECK(linkOf(slot.index) == kInUse);
  pushFree(kinds_.rows[pages_.rows[page].kind], slot.index);
  --slotsInUse_;
}

bool Slab::reserve(size_t size, size_t align, size_t count) {
  return reserve(kindOf(size, align), count);
}

bool Slab::reserve(uint32_t kind, size_t count) {
  if (kind == kNone || count > kMaxSlots) return false;
  while (kinds_.rows[kind].slotCount < count) {
    if (!addPage(kind)) return false;
  }
  return true;
}

size_t Slab::memory() const {
  return pageMemory_ + pages_.capacity * sizeof(Page) + kinds_.capacity * sizeof(Kind);
}

// A program has a handful of kinds (one for each type of user data), so looking is cheap.
uint32_t Slab::kindOf(size_t size, size_t align) {
  WARREN_CHECK(size >= sizeof(Slot));
  WARREN_CHECK(align != 0 && (align & (align - 1)) == 0);  // a power of two
  if (size > kMaxSlotSize || align > kMaxSlotSize) return kNone;

  const auto slotAlign = static_cast<uint32_t>(std::max(align, alignof(uint64_t)));
  const auto slotSize = roundUp(static_cast<uint32_t>(size), slotAlign);
  for (uint32_t kind = 0; kind < kinds_.count; ++kind) {
    const Kind& known = kinds_.rows[kind];
    if (known.slotSize == slotSize && known.align == slotAlign) return kind;
  }
  const bool added = kinds_.append({slotSize, slotAlign, 0, kNone, kNone});
  return added ? kinds_.count - 1 : kNone;
}

// Only the links are written. The slots stay as calloc gave them, which for big blocks means: no
// memory behind them yet. Zeros are generation 0, and that names nothing.
bool Slab::addPage(uint32_t kind) {
  Kind& owner = kinds_.rows[kind];
  if (slotCount() == kMaxSlots) return false;

  const size_t blockSize = kLinksSize + (std::max<size_t>(owner.align, kHeapAlign) - kHeapAlign) +
                           size_t{owner.slotSize} * kSlotsPerPage;
  auto* block = static_cast<std::byte*>(allocateZeroed(blockSize));
  if (block == nullptr) return false;
  const uintptr_t links = reinterpret_cast<uintptr_t>(block);
  const uintptr_t slots = roundUp(links + kLinksSize, uintptr_t{owner.align});
  const Page page{block + (slots - links), reinterpret_cast<uint32_t*>(block), owner.slotSize,
                  kind};
  if (!pages_.append(page)) {
    std::free(block);
    return false;
  }

  const uint32_t first = (pages_.count - 1) << kPageShift;
  std::fill_n(page.links, kSlotsPerPage, kInUse);
  for (uint32_t index = first; index < first + kSlotsPerPage; ++index) pushFree(owner, index);
  owner.slotCount += kSlotsPerPage;
  pageMemory_ += blockSize;
  return true;
}

void Slab::pushFree(Kind& kind, uint32_t index) {
  (kind.freeHead == kNone ? kind.freeHead : linkOf(kind.freeTail)) = index;
  kind.freeTail = index;
  linkOf(index) = kNone;
}

uint32_t Slab::popFree(Kind& kind) {
  const uint32_t index = kind.freeHead;
  WARREN_CHECK(linkOf(index) != kInUse);
  kind.freeHead = linkOf(index);
  linkOf(index) = kInUse;
  return index;
}

}  // namespace warren::base
