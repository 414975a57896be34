// Connection: from the kernel to the `data` handler.
#include <cerrno>
#include <utility>

#include "base/poison.h"
#include "net/connection_call.h"

namespace warren::net {

using os::sys::Answer;

bool Connection::mayRead() const {
  return (flags_ & (kReadable | kPaused | kReadDone)) == kReadable &&
         (state_ == State::open || state_ == State::lingering);
}

// Reads until the kernel has no more, or the socket has had its share of the turn.
void Connection::readWithinBudget() {
  const std::span<std::byte> buffer = reactor().receiveBuffer();
  size_t budget = reactor().options().readBudget;
  while (mayRead()) {
    const Answer count = os::sys::recv(fd_, buffer);
    ++reactor().stats().reads;
    if (count <= 0) return readStopped(count);
    const size_t size = static_cast<size_t>(count);
    // A short read has emptied the queue, unless an end is queued behind it: a FIN that is there
    // already gives no second edge, one still to come is an edge of its own.
    if (size < buffer.size() && !has(kEnded)) clear(kReadable);
    received(buffer.first(size));
    if (size >= budget) break;
    budget -= size;
  }
  if (mayRead()) reactor().ready(*this);
}

void Connection::readStopped(Answer answer) {
  clear(kReadable);
  if (os::sys::blocked(answer)) return;
  if (answer == 0) return onPeerEnd();
  set(kReadDone);
  finish(cold_ != nullptr && cold_->why
             ? std::exchange(cold_->why, {})
             : Error(Origin::kernel, static_cast<int>(-answer), Step::read));
}

void Connection::received(Bytes bytes) {
  bytesRead_ += bytes.size();
  cell_->bytesRead += bytes.size();
  if (has(kIdleTimeout | kBounded)) traffic();
  if (has(kFinSent) && has(kBounded) && !withinLinger(bytes.size())) return;
  if (has(kMuted)) return;
  call(cell_->table->data, bytes);
  base::poison(bytes);
}

// Counts input that comes after our FIN; more than the limit is an endless peer.
bool Connection::withinLinger(size_t size) {
  Cold* cold = this->cold();
  if (cold != nullptr && size <= cold->lingerBytesLeft) {
    cold->lingerBytesLeft -= size;
    return true;
  }
  finish({Usage::tooMuch, Step::linger, "the peer sent more than linger.bytes after our end"});
  return false;
}

void Connection::onPeerEnd() {
  set(kReadDone);
  // What `data` has put off still belongs before the end.
  reactor().runDeferred();
  if (state_ == State::closed) return;
  if (!has(kMuted)) call(cell_->table->end);
  if (state_ == State::closed) return;
  // An end that follows a failed write is the reset's doing, not the peer's goodbye.
  if (has(kWriteDead)) return finish(cold_ != nullptr ? std::exchange(cold_->why, {}) : Error());
  if (state_ == State::open && !cell_->policy.allowHalfOpen) {
    if (acceptsWrites()) set(kFinOwed);
    set(kBounded);
    clear(kDrainOwed | kCorked);
    if (queued() > 0) armLinger();
  }
  flushOutput();
  closeIfDone();
}

void Connection::pause() {
  if (state_ == State::connecting || state_ == State::open) set(kPaused);
}

void Connection::resume() {
  if (!has(kPaused)) return;
  clear(kPaused);
  if (mayRead()) reactor().ready(*this);
}

}  // namespace warren::net
