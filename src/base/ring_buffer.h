// RingBuffer: bytes in, bytes out, in order; the store of the sink and of every outbox.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "warren/bytes.h"

namespace warren::base {

// A growable queue of bytes in a power-of-two block. Positions run on until the buffer is empty; the
// block's mask says where they lie. Owner: an ArrayBufferSink or a connection.
//
// Invariant: head_ <= tail_, tail_ - head_ <= capacity_, and capacity_ is 0 or a power of two.
class RingBuffer {
 public:
  static constexpr size_t kMinCapacity = 256;

  RingBuffer() = default;
  ~RingBuffer();
  RingBuffer(RingBuffer&& other) noexcept;
  RingBuffer& operator=(RingBuffer&& other) noexcept;

  size_t size() const { return static_cast<size_t>(tail_ - head_); }
  size_t capacity() const { return capacity_; }
  bool empty() const { return head_ == tail_; }

  // Makes room for at least `total` bytes in all. False, and nothing changed, when it cannot be had.
  [[nodiscard]] bool reserve(size_t total);

  // Appends all of `bytes`, growing as needed; `bytes` may lie inside this very buffer. False, and
  // nothing changed, when there is no memory.
  [[nodiscard]] bool append(Bytes bytes);

  // The readable bytes in order: the second span is empty unless they wrap. Valid until the next call
  // that is not const.
  std::array<Bytes, 2> readable() const;

  // Drops the oldest `count` bytes; count <= size().
  void consume(size_t count);

  // Drops all bytes; the block stays.
  void clear() { head_ = tail_ = 0; }

  // Drops all bytes and the block.
  void release();

 private:
  bool grow(size_t total, RingBuffer& old);
  void copyIn(Bytes bytes);

  std::byte* block_ = nullptr;
  size_t capacity_ = 0;
  uint64_t head_ = 0;
  uint64_t tail_ = 0;
};

}  // namespace warren::base
