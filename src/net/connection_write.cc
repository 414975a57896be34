// Connection: from the user's verbs to the kernel.
#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "net/hot_path.h"

namespace warren::net {

using os::sys::Answer;

namespace {

// From so many bytes on there is nothing to win by gathering more: they go to the kernel at once,
// straight from the caller's memory.
constexpr size_t kGatherLimit = size_t{64} << 10;

size_t totalSize(std::span<const Bytes> segments) {
  size_t total = 0;
  for (const Bytes& segment : segments) total += segment.size();
  return total;
}

bool fits(size_t more, size_t queued, size_t limit) {
  return queued <= limit && more <= limit - queued;
}

}  // namespace

bool Connection::acceptsWrites() const {
  return (state_ == State::open || connecting()) &&
         !has(kFinOwed | kFinSent | kWriteDead | kTlsFailed);
}

bool Connection::mayTransmit() const {
  return (flags_ & (kWritable | kWriteDead | kCorked)) == kWritable &&
         (state_ == State::open || state_ == State::lingering || state_ == State::handshaking);
}

// --- verbs -----------------------------------------------------------------------------------------

// The writes that are more than a system call; the others never leave hot_path.h.
std::ptrdiff_t Connection::writeSlowly(Bytes bytes) {
  return write(std::span<const Bytes>(&bytes, 1));
}

// The kernel has not taken all of `bytes`.
std::ptrdiff_t Connection::wroteLess(Answer answer, size_t size) {
  return taken(sent(answer, size), size);
}

std::ptrdiff_t Connection::write(std::span<const Bytes> segments) {
  if (!acceptsWrites()) return refused();
  const size_t total = totalSize(segments);
  if (total == 0) return 0;
  if (has(kCorked) && queued() + total <= kGatherLimit) {
    for (const Bytes& segment : segments) {
      if (!enqueue(segment)) return -1;
    }
    return taken(total, total);
  }
  const bool willing = state_ == State::open && has(kWritable) && !has(kHandshaking);
  return taken(willing ? transmit(segments, total) : 0, total);
}

// What a write that took `count` of `total` bytes answers.
std::ptrdiff_t Connection::taken(size_t count, size_t total) {
  if (has(kWriteDead) || state_ == State::closed) return refused();  // in the middle of it
  bytesWritten_ += count;
  if (count < total) set(kDrainOwed);
  return static_cast<std::ptrdiff_t>(count);
}

// The user was told that nothing more can be sent. One who has paused until `drain`, or does so now,
// would wait for ever: `close` is what comes.
std::ptrdiff_t Connection::refused() {
  if (has(kWriteDead)) {
    set(kUnpausable);
    resume();
  }
  return -1;
}

bool Connection::send(Bytes bytes) {
  if (!acceptsWrites() || !queue(bytes)) {
    refused();
    return false;
  }
  if (queued() <= cell_->policy.highWaterMark) return true;
  set(kDrainOwed);
  return false;
}

// Takes all of `bytes` or finishes the socket: false then.
bool Connection::queue(Bytes bytes) {
  size_t sent = 0;
  // Where others have queued too much, who need not queue is not to suffer for it.
  const bool straight = queued() + bytes.size() >= kGatherLimit || crowded(bytes.size());
  if (straight && mayTransmit() && !has(kHandshaking)) {
    sent = transmit(std::span<const Bytes>(&bytes, 1), bytes.size());
    if (has(kWriteDead) || state_ == State::closed) return false;
    bytesWritten_ += sent;
  }
  const Bytes rest = bytes.subspan(sent);
  if (rest.empty()) return true;
  if (!fits(rest.size(), queued(), cell_->policy.maxQueued)) {
    tooMuch("more than maxQueued would be queued");
    return false;
  }
  if (crowded(rest.size())) {
    tooMuch("more than ReactorOptions::maxQueued would be queued on all sockets together");
    return false;
  }
  if (!enqueue(rest)) return false;
  bytesWritten_ += rest.size();
  reactor().flushLater(*this);
  return true;
}

// So many more would be too many for the reactor.
bool Connection::crowded(size_t more) const {
  return !fits(more, reactor().colds().queued(), reactor().options().maxQueued);
}

void Connection::tooMuch(const char* what) {
  set(kReset);
  finish({Usage::tooMuch, Step::write, what});
}

std::ptrdiff_t Connection::end(Bytes bytes) {
  if (!acceptsWrites()) return refused();
  if (!bytes.empty() && !queue(bytes)) return refused();
  finishOutput(cell_->policy.allowHalfOpen ? kFinOwed : kFinOwed | kBounded);
  return static_cast<std::ptrdiff_t>(bytes.size());
}

void Connection::shutdown(Side side) {
  if (side != Side::read && acceptsWrites()) finishOutput(kFinOwed);
  if (side != Side::write && (state_ == State::open || connecting())) {
    set(kMuted);
    resume();
  }
}

void Connection::flush() {
  if (state_ != State::open) return;
  flushOutput();
  if (drainDue()) reactor().ready(*this);
}

bool Connection::cork() {
  if (!acceptsWrites() || has(kCorked)) return false;
  set(kCorked);
  return true;
}

void Connection::uncork() {
  clear(kCorked);
  flush();
}

// --- output ----------------------------------------------------------------------------------------

// Gives the outbox and then `extra` to the kernel in one system call, and returns how many bytes of
// `extra` went.
size_t Connection::transmit(std::span<const Bytes> extra, size_t extraSize) {
  if (has(kSecure)) return seal(extra);
  std::array<Bytes, os::sys::kMaxSegments> segments;
  size_t count = 0;
  const size_t before = queued();
  if (before > 0) {
    for (const Bytes& part : cold()->outbox.bytes().readable()) {
      if (!part.empty()) segments[count++] = part;
    }
  }
  for (const Bytes& part : extra) segments[count++] = part;
  const size_t total = before + extraSize;
  const size_t went = sent(count == 1 ? os::sys::send(fd_, segments[0])
                                      : os::sys::sendSegments(fd_, {segments.data(), count}),
                           total);
  const size_t fromOutbox = std::min(went, before);
  if (fromOutbox > 0) {
    cold()->outbox.consume(fromOutbox);
    dropColdIfIdle();
  }
  return went - fromOutbox;
}

// What the kernel's answer to `size` bytes means, and how many of them went. A count below the size
// means it is full: it tells when it no longer is.
size_t Connection::sent(Answer answer, size_t size) {
  Stats& stats = reactor().stats();
  ++stats.writes;
  if (answer < 0) {
    clear(kWritable);
    if (!os::sys::blocked(answer)) writeFailed(static_cast<int>(-answer));
    return 0;
  }
  const size_t count = static_cast<size_t>(answer);
  cell_->bytesWritten += count;
  if (count < size) {
    clear(kWritable);
    ++stats.shortWrites;
  }
  if (has(kIdleTimeout | kBounded)) {
    pushIdleTimeout();
    pushLinger();
  }
  return count;
}

// Appends to the outbox; without memory for it the socket is finished.
bool Connection::enqueue(Bytes bytes) {
  Cold* cold = needCold();
  if (cold != nullptr) reactor().colds().equip(cold->outbox);
  if (cold != nullptr && cold->outbox.append(bytes)) return true;
  set(kReset);
  finish({Origin::kernel, ENOMEM, Step::write, "outbox"});
  return false;
}

void Connection::flushQueued() {
  if (state_ == State::closed || state_ == State::connecting) return;
  flushOutput();
  // Not from here: a user who fills the socket from `drain` would never let the reactor go on.
  if (drainDue()) reactor().ready(*this);
}

// Sends what is queued and, behind it, the FIN that is owed.
void Connection::flushOutput() {
  if (has(kSecure)) return flushSealed();
  if (queued() > 0 && mayTransmit()) transmit({}, 0);
  if (has(kFinOwed) && queued() == 0 && !has(kWriteDead)) sendFin();
}

bool Connection::drainDue() const {
  return (flags_ & (kDrainOwed | kWritable | kHandshaking)) == (kDrainOwed | kWritable) &&
         queued() == 0 && state_ == State::open;
}

void Connection::flushAndDrain() {
  if (state_ == State::closed || state_ == State::connecting) return;
  const bool tried = queued() > 0;
  flushOutput();
  if (!drainDue()) return;
  // Room that an event tells of may have been filled since, by a handler of another socket.
  if (!tried && !os::sys::hasRoom(fd_)) return clear(kWritable);
  clear(kDrainOwed);
  ++reactor().stats().drains;
  call(cell_->table->drain);
  if (has(kReadDone)) answerEnd();
}

// No more is accepted; `flags` say what follows the outbox.
void Connection::finishOutput(uint32_t flags) {
  set(flags);
  clear(kDrainOwed | kCorked);
  if (has(kBounded) && !connecting() && !has(kHandshaking)) armLinger();
  reactor().flushLater(*this);
}

void Connection::sendFin() {
  WARREN_CHECK(queued() == 0);
  clear(kFinOwed);
  set(kFinSent);
  // Closing the descriptor says it, if nobody else has it.
  if (!has(kReadDone) || has(kAdopted)) os::sys::shutdown(fd_, os::sys::Side::write);
  closeIfDone();
}

// What the peer sent before is still to be read; then the socket is finished. Who has paused until
// `drain` would wait for ever: there is none to come.
void Connection::writeFailed(int error) {
  if (has(kDrainOwed)) {
    clear(kPaused);
    set(kUnpausable);
  }
  set(kWriteDead | kReadable | kEnded);
  clear(kDrainOwed | kWritable);
  if (Cold* cold = needCold()) cold->why = Error(Origin::kernel, error, Step::write);
  reactor().ready(*this);
}

}  // namespace warren::net
