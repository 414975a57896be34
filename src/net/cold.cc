#include "net/cold.h"

#include <new>
#include <utility>

namespace warren::net {

bool Outbox::append(Bytes bytes) {
  if (!bytes_.append(bytes)) return false;
  total_ += bytes.size();
  return true;
}

void Outbox::consume(size_t count) {
  bytes_.consume(count);
  total_ -= count;
}

base::RingBuffer Outbox::release() {
  total_ -= size();
  bytes_.clear();
  return std::move(bytes_);
}

bool Cold::idle() const {
  return wire.empty() && inbox.empty() && sealed == 0 && dialer == nullptr && greeting == nullptr &&
         proxied == nullptr && !why;
}

Cold* ColdPool::take() {
  if (colds_.empty()) return new (std::nothrow) Cold(queued_);
  Cold* cold = colds_.back().release();
  colds_.pop_back();
  return cold;
}

void ColdPool::give(Cold* cold) {
  std::unique_ptr<Cold> owned(cold);
  strip(owned->outbox);
  if (colds_.size() == kMost) return;
  owned->dialer.reset();
  owned->greeting.reset();
  owned->proxied.reset();
  owned->wire.release();
  owned->inbox.release();
  owned->why = {};
  owned->lingerBytesLeft = 0;
  owned->sealed = 0;
  colds_.push_back(std::move(owned));
}

void ColdPool::equip(Outbox& outbox) {
  if (memory_.empty() || outbox.bytes().capacity() > 0) return;
  outbox.lend(std::move(memory_.back()));
  memory_.pop_back();
}

void ColdPool::strip(Outbox& outbox) {
  base::RingBuffer memory = outbox.release();
  const bool fits = memory.capacity() > 0 && memory.capacity() <= kMostOutbox;
  if (fits && memory_.size() < kMost) memory_.push_back(std::move(memory));
}

}  // namespace warren::net
