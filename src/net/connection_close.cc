// Connection: every way to the end of a socket.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "net/hot_path.h"

namespace warren::net {

// --- verbs -----------------------------------------------------------------------------------------

void Connection::close() {
  if (connecting()) return failed({Origin::kernel, ECANCELED, Step::connect, target()});
  if (state_ == State::greeting || state_ == State::handshaking) return finish({});
  if (state_ != State::open) return;
  if (has(kHandshaking)) return finish({});
  leave({});
}

// Tells that it is closed, and delivers what was accepted behind the scenes.
void Connection::leave(const Error& error) {
  mute();
  if (queued() > 0 && mayTransmit()) transmit({}, 0);
  // The peer's end may have come before, and then there is nothing else to wait for.
  if (has(kSecure) && state_ == State::open) notify();
  if (state_ == State::closed) return;  // no memory for what TLS has to send
  if (!mustLinger()) return finish(error);
  tellClosed(State::lingering, error);
  linger();
}

void Connection::mute() {
  clear(kCorked | kDrainOwed | kPaused);
  set(kMuted | kBounded | (has(kFinSent) ? 0u : kFinOwed));
}

// Nobody hears of it any more.
void Connection::linger() {
  mute();
  reactor().retire(*this);  // for its Data
  armLinger();
  reactor().flushLater(*this);
  if (mayRead()) reactor().ready(*this);
}

// Closing a descriptor with input unread, or before the peer has read all, can destroy what the
// kernel has still to deliver. Nothing was written, or the peer has ended: nothing to lose.
bool Connection::mustLinger() const {
  if (has(kWriteDead)) return false;
  const bool written = bytesWritten_ > 0 || has(kSecure);  // a close_notify at least
  return queued() > 0 || (written && !has(kReadDone));
}

void Connection::terminate() {
  if (connecting()) return close();
  if (state_ != State::open) return;
  set(kReset);
  finish({});
}

void Connection::cut() {
  if (connecting() || state_ == State::open) return terminate();
  set(kReset);
  finish({});
}

// --- lingering -------------------------------------------------------------------------------------

// Bytes went in or out.
void Connection::pushIdleTimeout() {
  if (!has(kIdleTimeout) || links_.timeout == kNone) return;
  TimerSlot& timer = reactor().timers().at(links_.timeout);
  // What its own handler sends does not arm it again: saying goodbye is not staying.
  if (timer.armed()) reactor().timers().restart(timer, timer.period);
}

// The peer has taken bytes, or still has something to say to a user who listens.
void Connection::pushLinger() {
  // During a handshake the deadline is the handshake's.
  if (!has(kBounded) || has(kHandshaking) || deadline_ == kNone) return;
  reactor().timers().restart(reactor().timers().at(deadline_),
                             cell_->policy.linger.timeout.count());
}

// From here on a peer is cut that takes nothing for `linger.timeout`, and one that sends more than
// `linger.bytes` to nobody or after our FIN. What it sends buys it time only once it has our FIN, and
// only while somebody listens: a byte now and then must not hold an outbox for ever.
void Connection::armLinger() {
  if (deadline_ != kNone || state_ == State::closed) return;
  Cold* cold = needCold();
  TimerSlot* timer = reactor().timers().start(TimerKind::socketDeadline, index,
                                              cell_->policy.linger.timeout.count());
  if (cold == nullptr || timer == nullptr) {
    if (timer != nullptr) reactor().timers().cancel(*timer);
    return finish({Origin::kernel, ENOMEM, Step::linger});
  }
  cold->lingerBytesLeft = cell_->policy.linger.bytes;
  deadline_ = timer->index;
}

// Both directions are finished.
void Connection::closeIfDone() {
  if (state_ != State::closed && has(kReadDone) && has(kFinSent) && queued() == 0) finish({});
}

// --- the end ---------------------------------------------------------------------------------------

// The connection is over. A descriptor that goes with accepted bytes unsent is reset: a stream is
// whole or visibly broken.
void Connection::finish(const Error& error) {
  if (state_ == State::closed) return;
  if (connecting()) return failed(error);
  if (queued() > 0) set(kReset);
  reactor().timers().cancel(deadline_);
  if (state_ == State::open) {
    tellClosed(State::closed, error);
  } else {
    state_ = State::closed;
  }
  reactor().retire(*this);
}

void Connection::tellClosed(State next, const Error& error) {
  state_ = next;
  reactor().timers().cancel(links_.timeout);
  clear(kIdleTimeout);
  ++reactor().stats().closed;
  leaveCell();
  call(cell_->table->close, error);
}

// No longer one of the cell's open sockets; it stays linked until it is released.
void Connection::leaveCell() {
  if (!has(kCounted)) return;
  clear(kCounted);
  --cell_->openSockets;
}

bool Connection::release() {
  destroyData();  // which may end even this one: retired still, it is not retired again
  clear(kRetired);
  if (state_ != State::closed) return false;
  const Address local = has(kLocalAsked) ? localAddress() : Address();
  closeDescriptor();
  const uint64_t unsent = this->unsent();
  if (cold_ != nullptr || has(kSecure)) dropExtras();
  reactor().timers().cancel(links_.timeout);
  WARREN_CHECK(deadline_ == kNone);
  if (has(kHandshaking)) endHandshake();

  ReactorImpl& reactor = this->reactor();
  if (has(kReferenced)) reactor.dropReference();
  clear(kReferenced);
  leaveCell();
  auto neighbour = [&](uint32_t at) { return static_cast<Connection*>(reactor.slab().at(at)); };
  (links_.prevInCell == kNone ? cell_->firstSocket
                              : neighbour(links_.prevInCell)->links_.nextInCell) =
      links_.nextInCell;
  if (links_.nextInCell != kNone)
    neighbour(links_.nextInCell)->links_.prevInCell = links_.prevInCell;
  HandlerCell* cell = cell_;
  keepFacts(unsent, local);
  const base::SlotId listenerId = cell->listener;
  reactor.releaseCell(*cell);  // first: the listener counts its references
  if (Listener* listener = reactor.findListener(listenerId)) listener->reconsider();
  return true;
}

void Connection::keepFacts(uint64_t unsent, const Address& local) {
  set(kSwept);
  unsent_ = static_cast<uint32_t>(std::min<uint64_t>(unsent, UINT32_MAX));
  local_ = {local.family(), local.port()};
  localIp_ = local.ip();
}

void Connection::discard(bool forked) {
  state_ = State::closed;
  if (queued() > 0) set(kReset);         // whole or visibly broken
  if (forked) clear(kAdopted | kReset);  // poller and connection are the parent's
  reactor().timers().cancel(deadline_);
  static_cast<void>(release());
}

void Connection::destroyData() {
  if (!has(kHasData)) return;
  clear(kHasData);
  cell_->dataType.destroy(data());
}

void Connection::closeDescriptor() {
  if (fd_ < 0) return;
  if (has(kAdopted)) reactor().poller().remove(fd_);
  const int fd = std::exchange(fd_, -1);
  has(kReset) ? os::sys::reset(fd) : os::sys::close(fd);
}

// Null without memory.
Cold* Connection::needCold() {
  if (Cold* cold = this->cold()) return cold;
  Cold* const cold = reactor().colds().take();
#if WARREN_TLS
  if (has(kSecure)) return secure_->cold = cold;
#endif
  return cold_ = cold;
}

void Connection::dropCold() {
  reactor().colds().give(cold());
#if WARREN_TLS
  if (has(kSecure)) return static_cast<void>(secure_->cold = nullptr);
#endif
  cold_ = nullptr;
}

void Connection::dropExtras() {
  if (cold() != nullptr) dropCold();
  dropSecure();
}

// An outbox goes back to the pool as soon as it is empty, unless what lies beside it is needed.
void Connection::dropColdIfIdle() {
  Cold* const cold = this->cold();
  if (cold == nullptr || !cold->outbox.empty()) return;
  if (cold->idle() && deadline_ == kNone) return dropCold();
  reactor().colds().strip(cold->outbox);
}

}  // namespace warren::net
