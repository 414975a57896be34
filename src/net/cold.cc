#include "net/cold.h"

#include <new>
#include <utility>

namespace warren::net {

bool Cold::idle() const {
  return wire.empty() && inbox.empty() && sealed == 0 && dialer == nullptr && greeting == nullptr &&
         proxied == nullptr && !why;
}

Cold* ColdPool::take() {
  if (colds_.empty()) return new (std::nothrow) Cold;
  Cold* cold = colds_.back().release();
  colds_.pop_back();
  return cold;
}

void ColdPool::give(Cold* cold) {
  std::unique_ptr<Cold> owned(cold);
  giveOutbox(owned->outbox);
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

base::RingBuffer ColdPool::takeOutbox() {
  if (outboxes_.empty()) return {};
  base::RingBuffer outbox = std::move(outboxes_.back());
  outboxes_.pop_back();
  return outbox;
}

void ColdPool::giveOutbox(base::RingBuffer& outbox) {
  outbox.clear();
  const bool fits = outbox.capacity() > 0 && outbox.capacity() <= kMostOutbox;
  if (fits && outboxes_.size() < kMost) return outboxes_.push_back(std::move(outbox));
  outbox.release();
}

}  // namespace warren::net
