// Connection: from the kernel to the `data` handler.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "net/hot_path.h"

namespace warren::net {

using os::sys::Answer;

// A pause holds back what is told; the handshake is not.
bool Connection::mayRead() const {
  const uint32_t held = has(kHandshaking) ? kReadDone : kPaused | kReadDone;
  return (flags_ & (kReadable | held)) == kReadable &&
         (state_ == State::open || state_ == State::lingering || state_ == State::handshaking);
}

// An input event that found nothing, an end or a full buffer.
void Connection::tookAllOrNone(Answer count) {
  const size_t used = took(count);
  if (used > 0) readWithinBudget(used);
}

// What is no plaintext costs more than its bytes say: tiny records, key updates, tickets.
constexpr size_t kRecordWork = 32;

// Reads until the kernel has no more, or the socket has had its share of the turn, of which `used`
// bytes are gone.
void Connection::readWithinBudget(size_t used) {
  if (has(kHandshaking) && mayRead() && !reactor().takeHandshakeStep()) {
    return reactor().ready(*this);
  }
  const bool shaking = has(kHandshaking);
  while (mayRead()) {
    if (has(kHandshaking) && !shaking) return;  // `data` has begun one, and it waits its turn
    if (used >= reactor().options().readBudget) return reactor().ready(*this);
    if (has(kSecure)) {
      decryptKept();
      if (!mayRead()) return;
    }
    const uint64_t before = bytesRead_;
    const size_t size = took(receive());
    if (size == 0) return;
    used += size;
    if (has(kSecure))
      used += kRecordWork * (size - std::min(size, static_cast<size_t>(bytesRead_ - before)));
  }
}

// Passes on what a read brought and returns its size; 0: there was nothing, or reading is over.
size_t Connection::took(Answer count) {
  if (count <= 0) {
    readStopped(count);
    return 0;
  }
  const size_t size = static_cast<size_t>(count);
  const Bytes bytes = reactor().receiveBuffer().first(size);
  // A short read has emptied a TCP queue, unless an end or urgent data is behind it: a FIN that is
  // there already gives no second edge, one still to come is an edge of its own. Unix sockets also
  // stop behind a message that brought descriptors.
  if (size < ReactorImpl::kReceiveBuffer && !has(kEnded | kUnix)) clear(kReadable);
  if (!has(kSecure)) {
    received(bytes);
  } else {
    pushIdleTimeout();  // a record may take longer than that to be whole
    decrypt(bytes);
  }
  return size;
}

// An end that follows a failed write is the reset's doing. A broken pipe is none: the FIN came first.
bool Connection::saidGoodbye() const {
  return !has(kWriteDead) || (cold() != nullptr && cold()->why.isErrno(EPIPE));
}

void Connection::readStopped(Answer answer) {
  clear(kReadable);
  if (os::sys::blocked(answer)) return;
  if (answer == 0) return has(kSecure) ? streamCut() : onPeerEnd();
  const Error why = takeWhy();
  const Error error =
      why ? why : Error(Origin::kernel, static_cast<int>(-answer), Step::read, target());
  if (has(kHandshaking)) return handshakeFailed(error);
  set(kReadDone);
  finish(error);
}

// Bytes for the user, or for nobody.
void Connection::received(Bytes bytes) {
  countRead(bytes.size());
  if (has(kIdleTimeout | kBounded)) {
    pushIdleTimeout();
    if (state_ == State::open && has(kFinSent)) pushLinger();
    const bool counted = has(kBounded) && (state_ == State::lingering || has(kFinSent));
    if (counted && !withinLinger(bytes.size())) return;
  }
  if (!has(kMuted)) deliver(bytes);
}

// Counts input that comes after our FIN; more than the limit is an endless peer.
bool Connection::withinLinger(size_t size) {
  Cold* cold = needCold();
  if (cold != nullptr && size <= cold->lingerBytesLeft) {
    cold->lingerBytesLeft -= size;
    return true;
  }
  finish({Usage::tooMuch, Step::linger, "the peer sent more than linger.bytes after our end"});
  return false;
}

void Connection::onPeerEnd() {
  // What `data` has put off still belongs before the end.
  reactor().runDeferred();
  if (state_ == State::closed) return;
  if (has(kHandshaking)) {  // one of them upgrades: to the session the end means something else
    set(kReadable);
    return reactor().ready(*this);
  }
  if (has(kPaused)) {  // by one of them: the end is told again, by the kernel or by the session
    set(kReadable);
    return has(kSecure) ? keep({}) : void();
  }
  set(kReadDone);  // not before: what they have ended would close without an `end`
  if (!has(kMuted) && saidGoodbye()) call(cell_->table->end);
  if (state_ == State::closed) return;
  if (has(kWriteDead)) return finish(takeWhy());
  answerEnd();
  if (has(kBroken) && state_ == State::open) brokenAtEnd();
}

// Without allowHalfOpen our FIN follows the peer's: behind what is queued, and behind a `drain` that is
// owed, whose user has bytes left.
void Connection::answerEnd() {
  if (state_ == State::open && !cell_->policy.allowHalfOpen) {
    // Nearly always nothing is left to say, and closing the descriptor says that.
    if (!has(kDrainOwed | kWriteDead | kSecure | kAdopted) && queued() == 0) return finish({});
    set(kBounded);
    if (!has(kDrainOwed)) {
      if (acceptsWrites()) set(kFinOwed);
      clear(kCorked);
    }
  }
  flushQueued();
  closeIfDone();
  // Not before: a close_notify may be all that the kernel refuses.
  if (state_ == State::open && has(kBounded) && full()) armLinger();
}

void Connection::pause() {
  if (!has(kUnpausable) && (connecting() || state_ == State::open)) set(kPaused);
}

void Connection::resume() {
  if (!has(kPaused)) return;
  clear(kPaused);
  if (mayRead()) reactor().ready(*this);
}

}  // namespace warren::net
