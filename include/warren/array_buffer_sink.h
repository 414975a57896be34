// ArrayBufferSink: gather bytes, take them as one.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <string_view>

#include "warren/bytes.h"
#include "warren/result.h"

namespace warren {

namespace base {
class RingBuffer;
}

struct SinkOptions {
  // Bun's choice between two types of value; a C++ value is the same either way.
  bool asUint8Array = false;
  // `flush` hands out what was gathered and starts over.
  bool stream = false;
  // Bytes to make room for at the start; no limit.
  size_t highWaterMark = 0;
};

// What a flush gives: the number of bytes since the last one and, from a sink with `stream` or one
// that ends, the bytes themselves, independent of the sink from then on.
class Flushed {
 public:
  Flushed() = default;
  // Bytes written since the last flush.
  size_t count() const { return count_; }
  // The bytes handed over; size() is 0 where none are.
  size_t size() const { return block_ ? size_ : 0; }
  Bytes bytes() const { return {block_.get(), size()}; }
  operator Bytes() const { return bytes(); }
  // The bytes from `offset` on; none when it lies beyond the end.
  Bytes subspan(size_t offset) const { return bytes().subspan(std::min(offset, size())); }

 private:
  friend class ArrayBufferSink;
  std::unique_ptr<std::byte[]> block_;
  size_t size_ = 0;
  size_t count_ = 0;
};

// A growable ring of bytes. A new sink takes writes as after start({}); one that was moved from is
// as one that has ended.
//   memory  the ring is kept for what comes next, until `end`
//   thread  any one at a time
//   source  Bun documentation, "ArrayBufferSink"
class ArrayBufferSink {
 public:
  ArrayBufferSink();
  ~ArrayBufferSink();
  ArrayBufferSink(ArrayBufferSink&&) noexcept;
  ArrayBufferSink& operator=(ArrayBufferSink&&) noexcept;

  // Drops what is there and starts over.
  //   errors  ENOMEM when there is no room for `highWaterMark`; the sink is then empty and usable
  Result<void> start(SinkOptions options = {});

  // Appends all of the bytes and gives their number. They may be bytes of this sink.
  //   errors  Usage::ended after `end` until `start`; ENOMEM, with nothing taken
  Result<size_t> write(Bytes bytes);
  Result<size_t> write(std::string_view text) { return write(asBytes(text)); }

  // With `stream`: hands over what is there and starts over. Without: only counts. When there is no
  // memory to hand it over in, it gives nothing and changes nothing: size() tells.
  Flushed flush();

  // Hands over what is left; the sink takes no more until `start`. A second one gives nothing.
  // Without memory as `flush`: the sink has not ended then.
  Flushed end();

  // For those who send without copying: the bytes in order in at most two spans, and dropping the
  // first `count` of them (all, if it is more). Spans are valid until the next call that changes
  // the sink.
  std::array<Bytes, 2> readable() const;
  void consume(size_t count);

  size_t size() const;
  size_t capacity() const;
  bool empty() const { return size() == 0; }

 private:
  Flushed take(bool handOver);

  std::unique_ptr<base::RingBuffer> ring_;  // none: ended
  size_t unflushed_ = 0;                    // bytes written since the last flush
  bool stream_ = false;
};

}  // namespace warren
