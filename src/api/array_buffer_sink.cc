#include "warren/array_buffer_sink.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>
#include <utility>

#include "base/ring_buffer.h"

namespace warren {
namespace {

// Null when there is no memory: the sink is then as an ended one, and `start` tries again.
std::unique_ptr<base::RingBuffer> makeRing() {
  return std::unique_ptr<base::RingBuffer>(new (std::nothrow) base::RingBuffer);
}

Error noMemoryFor(size_t size) {
  return {Origin::kernel, ENOMEM, Step::write,
          "sink: no memory for " + std::to_string(size) + " bytes"};
}

}  // namespace

ArrayBufferSink::ArrayBufferSink() : ring_(makeRing()) {}
ArrayBufferSink::~ArrayBufferSink() = default;
ArrayBufferSink::ArrayBufferSink(ArrayBufferSink&&) noexcept = default;
ArrayBufferSink& ArrayBufferSink::operator=(ArrayBufferSink&&) noexcept = default;

Result<void> ArrayBufferSink::start(SinkOptions options) {
  if (!ring_) ring_ = makeRing();
  consume(size());
  unflushed_ = 0;
  stream_ = options.stream;
  if (!ring_ || !ring_->reserve(options.highWaterMark)) return noMemoryFor(options.highWaterMark);
  return {};
}

Result<size_t> ArrayBufferSink::write(Bytes bytes) {
  if (!ring_) return Error(Usage::ended, Step::write, "sink: it has ended; call start() first");
  if (!ring_->append(bytes)) return noMemoryFor(bytes.size());
  unflushed_ += bytes.size();
  return bytes.size();
}

Flushed ArrayBufferSink::flush() { return take(stream_); }

Flushed ArrayBufferSink::end() {
  Flushed rest = take(true);
  if (empty()) ring_.reset();
  return rest;
}

// Counts what came since the last flush and, if asked to, moves all bytes out of the ring.
Flushed ArrayBufferSink::take(bool handOver) {
  Flushed flushed;
  if (!ring_) return flushed;
  if (handOver && !empty()) {
    flushed.block_.reset(new (std::nothrow) std::byte[size()]);
    if (!flushed.block_) return flushed;
    flushed.size_ = size();
    std::byte* next = flushed.block_.get();
    for (const Bytes part : readable()) next = std::copy(part.begin(), part.end(), next);
    consume(size());
  }
  flushed.count_ = std::exchange(unflushed_, 0);
  return flushed;
}

std::array<Bytes, 2> ArrayBufferSink::readable() const {
  return ring_ ? ring_->readable() : std::array<Bytes, 2>{};
}

void ArrayBufferSink::consume(size_t count) {
  if (ring_) ring_->consume(std::min(count, size()));
}

size_t ArrayBufferSink::size() const { return ring_ ? ring_->size() : 0; }

size_t ArrayBufferSink::capacity() const { return ring_ ? ring_->capacity() : 0; }

}  // namespace warren
