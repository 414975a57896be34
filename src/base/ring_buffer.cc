#include "base/ring_buffer.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/memory.h"

namespace warren::base {
namespace {

// The largest power of two that a pointer difference can count.
constexpr size_t kMaxCapacity = std::bit_floor(size_t{PTRDIFF_MAX});

}  // namespace

RingBuffer::~RingBuffer() { std::free(block_); }

RingBuffer::RingBuffer(RingBuffer&& other) noexcept
    : block_(std::exchange(other.block_, nullptr)),
      capacity_(std::exchange(other.capacity_, 0)),
      head_(std::exchange(other.head_, 0)),
      tail_(std::exchange(other.tail_, 0)) {}

RingBuffer& RingBuffer::operator=(RingBuffer&& other) noexcept {
  RingBuffer moved(
      std::move(other));  // by way of a third, so that moving to itself changes nothing
  std::swap(block_, moved.block_);
  std::swap(capacity_, moved.capacity_);
  std::swap(head_, moved.head_);
  std::swap(tail_, moved.tail_);
  return *this;
}

bool RingBuffer::reserve(size_t total) {
  RingBuffer old;
  return grow(total, old);
}

bool RingBuffer::append(Bytes bytes) {
  RingBuffer old;  // `bytes` may lie in the block that growing replaces
  if (bytes.size() > kMaxCapacity - size() || !grow(size() + bytes.size(), old)) return false;
  copyIn(bytes);
  return true;
}

std::array<Bytes, 2> RingBuffer::readable() const {
  if (empty()) return {};
  const size_t start = static_cast<size_t>(head_) & (capacity_ - 1);
  const size_t first = std::min(size(), capacity_ - start);
  return {Bytes(block_ + start, first), Bytes(block_, size() - first)};
}

void RingBuffer::consume(size_t count) {
  WARREN_CHECK(count <= size());
  head_ += count;
  if (empty()) clear();  // the next bytes start at the block's start and lie in one piece
  WARREN_CHECK(size() <= capacity_);
}

void RingBuffer::release() { *this = RingBuffer(); }

// Moves to a block for `total` bytes if this one is smaller, and leaves the smaller one to `old`.
bool RingBuffer::grow(size_t total, RingBuffer& old) {
  if (total <= capacity_) return true;
  if (total > kMaxCapacity) return false;

  RingBuffer larger;
  const size_t capacity = std::max(std::bit_ceil(total), kMinCapacity);
  larger.block_ = static_cast<std::byte*>(allocate(capacity));
  if (larger.block_ == nullptr) return false;
  larger.capacity_ = capacity;
  for (const Bytes part : readable()) larger.copyIn(part);
  old = std::exchange(*this, std::move(larger));
  return true;
}

// The only place that writes to the block. There is room; `bytes` may be readable bytes of this
// buffer, for those and the free ones do not overlap.
void RingBuffer::copyIn(Bytes bytes) {
  WARREN_CHECK(bytes.size() <= capacity_ - size());
  if (bytes.empty()) return;
  const size_t start = static_cast<size_t>(tail_) & (capacity_ - 1);
  const size_t first = std::min(bytes.size(), capacity_ - start);
  std::memcpy(block_ + start, bytes.data(), first);
  std::memcpy(block_, bytes.data() + first, bytes.size() - first);
  tail_ += bytes.size();
  WARREN_CHECK(size() <= capacity_);
}

}  // namespace warren::base
