#include "net/connection.h"

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "base/check.h"
#include "net/hot_path.h"
#include "net/options.h"
#include "net/reactor_impl.h"

namespace warren::net {

namespace {

// Milliseconds: what a few retransmissions take, and what kernels accept for the probes.
constexpr uint64_t kLeastDeadPeer = 10'000;
constexpr uint64_t kMostDeadPeer = uint64_t{1000} * INT16_MAX;

Address addressOf(Family family, const std::array<uint8_t, 16>& ip, uint16_t port, uint32_t scope) {
  switch (family) {
    case Family::ipv4:
      return Address::ipv4({ip[0], ip[1], ip[2], ip[3]}, port);
    case Family::ipv6:
      return Address::ipv6(ip, port, scope);
    case Family::unix:
      return Address::unix();
    case Family::none:
      break;
  }
  return {};
}

}  // namespace

Connection::Connection(base::SlotId id, HandlerCell& cell) : base::Slot(id), cell_(&cell) {
  ++cell.references;
  ++cell.openSockets;
  set(kCounted);
  links_.nextInCell = cell.firstSocket;
  if (links_.nextInCell != kNone) {
    static_cast<Connection*>(reactor().slab().at(links_.nextInCell))->links_.prevInCell = index;
  }
  cell.firstSocket = index;
}

// An empty Data has no bytes of its own; any address in the slot will do.
void* Connection::data() const {
  auto* slot = reinterpret_cast<std::byte*>(const_cast<Connection*>(this));
  return cell_->dataType.size == 0 ? slot : slot + cell_->dataOffset;
}

void Connection::constructData() {
  cell_->dataType.construct(data(), cell_->data.get());
  set(kHasData);
}

// --- connecting ------------------------------------------------------------------------------------

void Connection::connected(os::Fd fd, const Address& peer, bool adopted) {
  WARREN_CHECK(state_ == State::connecting || state_ == State::greeting);
  fd_ = fd.release();
  if (state_ == State::connecting && peer.family() == Family::unix) set(kUnix);
  setRemote(peer);
  set(adopted ? kWritable | kAdopted : kWritable);
  cell_->tls != nullptr ? startTls(cell_->tls) : open();
}

void Connection::open() {
  state_ = State::open;
  ++reactor().stats().opened;
  call(cell_->table->open);
  if (state_ == State::closed) return;
  if (has(kBounded) && !has(kHandshaking)) armLinger();  // it was ended while connecting
  if (queued() > 0 || has(kFinOwed)) reactor().flushLater(*this);
  if (has(kDrainOwed)) reactor().ready(*this);
}

bool Connection::connecting() const {
  return state_ == State::connecting ||
         (state_ == State::handshaking && cell_->listener == base::SlotId());
}

void Connection::setRemote(const Address& peer) {
  family_ = peer.family();
  remotePort_ = peer.port();
  remoteIp_ = peer.ip();
}

Result<void> Connection::dial(detail::ConnectRequest request) {
  const Duration limit = request.connectTimeout;
  Cold* cold = needCold();
  TimerSlot* timer = nullptr;
  if (cold != nullptr && !limit.zero()) {
    timer = reactor().timers().start(TimerKind::socketDeadline, index, limit.count());
  }
  if (cold == nullptr || (timer == nullptr && !limit.zero())) {
    abandon();
    return Error(Origin::kernel, ENOMEM, Step::connect, "socket");
  }
  if (timer != nullptr) deadline_ = timer->index;
  // Last: it takes the descriptor that was given, which an error leaves to the caller.
  cold->dialer = std::make_unique<Dialer>(reactor(), id(), std::move(request));
  // A failure is told in a later turn: no handler runs inside the call that starts.
  if (!cold->dialer->beginKnown()) reactor().ready(*this);
  return {};
}

void Connection::onAttemptReady(Part attempt) {
  if (state_ == State::connecting) dialed(cold()->dialer->onReady(attempt));
}

void Connection::onAddresses(Result<std::vector<Address>> addresses) {
  if (state_ == State::connecting) dialed(cold()->dialer->onAddresses(std::move(addresses)));
}

void Connection::onStagger() {
  WARREN_CHECK(state_ == State::connecting);
  dialed(cold()->dialer->onStagger());
}

void Connection::dialed(Dialed progress) {
  if (progress.stage == Dialed::Stage::pending) return;
  if (progress.stage == Dialed::Stage::failed) return failed(progress.error);
  cold()->dialer.reset();
  // connectTimeout ends with `open`, which waits for the handshake unless somebody wants to hear of that.
  if (cell_->tls == nullptr || cell_->table->handshake) reactor().timers().cancel(deadline_);
  dropColdIfIdle();
  connected(std::move(progress.fd), progress.peer, progress.adopted);
  if (progress.error && state_ == State::open) writeFailed(progress.error.code());
}

bool Connection::holds(int fd) const {
  const bool dialing = cold() != nullptr && cold()->dialer != nullptr;
  return fd_ == fd || (dialing && cold()->dialer->holds(fd));
}

// What was dialed, or who is at the other end.
std::string Connection::target() const {
  const bool dialing = cold() != nullptr && cold()->dialer != nullptr;
  return dialing ? cold()->dialer->target() : remoteAddress().text();
}

// `lingers`: an alert is on its way.
void Connection::failed(const Error& error, bool lingers) {
  WARREN_CHECK(connecting());
  if (cold() != nullptr) cold()->dialer.reset();
  ++reactor().stats().connectFailures;
  reactor().timers().cancel(deadline_);
  reactor().timers().cancel(links_.timeout);
  state_ = lingers ? State::lingering : State::closed;
  leaveCell();
  if (has(kHasData)) call(cell_->table->connectError, error);  // not while its Data is copied
  lingers ? linger() : reactor().retire(*this);
}

void Connection::abandon() {
  if (cold() != nullptr) cold()->dialer.reset();
  reactor().timers().cancel(deadline_);
  state_ = State::closed;
  reactor().retire(*this);
}

// --- events ----------------------------------------------------------------------------------------

void Connection::onReady(const os::Event& event) {
  if (state_ == State::connecting) {
    onAttemptReady(kSocketPart);
    // The edge that tells of the connect may tell of the peer's first bytes too, even of its FIN, and
    // there is no second one: so an open socket goes on with the same event.
    if (state_ == State::connecting || state_ == State::closed) return;
  }
  set(event.ready & kLatches);
  if (event.is(os::kReadable)) clear(kWaitedFor);
  if (state_ == State::greeting) return readGreeting();
  if (event.is(os::kBroken) && has(kReadDone) && state_ == State::open) return broken();
  // Cryptography waits until those that are open have had this turn's events.
  if (event.is(os::kReadable)) has(kHandshaking) ? reactor().ready(*this) : readWithinBudget(0);
  if (event.is(os::kWritable) && (cold() != nullptr || has(kDrainOwed | kFinOwed))) flushAndDrain();
}

// A half-open socket is past reading, which would have told.
void Connection::broken() { brokenBy(os::sys::pendingError(fd_)); }

// The end that was just read was told together with what is behind it, and there is no second event.
// A unix socket's end says as much without an error: its user finds out when it writes.
void Connection::brokenAtEnd() {
  if (const int error = os::sys::pendingError(fd_); error != 0) brokenBy(error);
}

void Connection::brokenBy(int error) {
  set(kWriteDead);
  finish({Origin::kernel, error != 0 ? error : ECONNRESET, Step::read});
}

void Connection::onWorkLeft() {
  if (state_ == State::connecting) return dialed(cold()->dialer->begin());
  readWithinBudget(0);
  // Reading may have found out how a connection whose write side died has ended; if not, it ends here.
  if (has(kWriteDead) && (has(kReadDone) || !has(kReadable))) {
    const Error why = takeWhy();
    return has(kHandshaking) ? handshakeFailed(why) : finish(why);
  }
  flushAndDrain();
}

void Connection::onTimeout() {
  if (connecting()) return failed({Origin::kernel, ETIMEDOUT, Step::timeout, target()});
  WARREN_CHECK(state_ == State::open);
  const bool ended = has(kFinOwed | kFinSent);
  call(cell_->table->timeout);
  if (state_ != State::open) return;
  if (links_.timeout != kNone && reactor().timers().at(links_.timeout).armed()) return;
  const Error late(Origin::kernel, ETIMEDOUT, Step::timeout);
  const bool saysGoodbye = !ended && has(kFinOwed | kFinSent);
  saysGoodbye ? leave(late) : finish(late);
}

void Connection::onDeadline() {
  if (state_ == State::connecting) {
    return failed({Origin::kernel, ETIMEDOUT, Step::connect, target()});
  }
  if (state_ == State::greeting) return refuseGreeting("it did not come in time");
  if (has(kHandshaking)) {
    return handshakeFailed({Origin::kernel, ETIMEDOUT, Step::handshake, target()});
  }
  if (has(kDrainOwed)) set(kReset);  // the user has bytes left: whole or visibly broken
  // Nor shall the kernel keep its own for minutes.
  if (!has(kUnix)) {
    const uint64_t patience =
        std::clamp(cell_->policy.linger.timeout.count(), kLeastDeadPeer, kMostDeadPeer);
    os::sys::setDeadPeer(fd_, static_cast<int>(patience));
  }
  finish({Origin::kernel, ETIMEDOUT, Step::linger});
}

bool Connection::keepsWaiting() {
  if (!has(kHandshaking) || has(kReadable) || deadline_ == kNone) return false;
  const bool still = has(kWaitedFor);
  set(kWaitedFor);
  return still;
}

// --- small verbs and facts -------------------------------------------------------------------------

Result<void> Connection::setTimeout(Duration after, bool idle) {
  if (Result<void> checked = checkDuration(after, idle ? "idleTimeout" : "timeout"); !checked) {
    return checked;
  }
  if (!connecting() && state_ != State::open) {
    return Error(Usage::closed, Step::timeout, "the socket is closed");
  }
  Timers& timers = reactor().timers();
  clear(kIdleTimeout);
  if (after.zero()) {
    timers.cancel(links_.timeout);
    return {};
  }
  if (links_.timeout != kNone) {
    timers.restart(timers.at(links_.timeout), after.count());
  } else {
    TimerSlot* timer = timers.start(TimerKind::socketTimeout, index, after.count());
    if (timer == nullptr) return Error(Origin::kernel, ENOMEM, Step::timeout, "timer");
    links_.timeout = timer->index;
  }
  timers.at(links_.timeout).period = after.count();
  if (idle) set(kIdleTimeout);
  return {};
}

void Connection::setReferenced(bool referenced) {
  if (state_ == State::closed || has(kReferenced) == referenced) return;
  if (referenced) {
    set(kReferenced);
    reactor().addReference();
  } else {
    clear(kReferenced);
    reactor().dropReference();
  }
}

Result<void> Connection::reload(HandlerTable table) {
  if (!connecting() && state_ != State::open) {
    return Error(Usage::closed, Step::options, "the socket is closed");
  }
  return reactor().reload(*cell_, std::move(table));
}

ReadyState Connection::readyState() const {
  switch (state_) {
    case State::connecting:
    case State::handshaking:
      return ReadyState::connecting;
    case State::open:
      if (has(kFinOwed | kFinSent)) return ReadyState::ended;
      return has(kReadDone) ? ReadyState::peerEnded : ReadyState::open;
    case State::greeting:
    case State::lingering:
    case State::closed:
      break;
  }
  return ReadyState::closed;
}

Address Connection::remoteAddress() const {
  // The slot has no room for the scope of link-local addresses (fe80::/10).
  const bool scoped =
      family_ == Family::ipv6 && remoteIp_[0] == 0xfe && (remoteIp_[1] & 0xc0) == 0x80 && fd_ >= 0;
  const uint32_t scope = scoped ? os::sys::peerAddress(fd_).scope() : 0;
  return addressOf(family_, remoteIp_, remotePort_, scope);
}

Address Connection::localAddress() {
  if (has(kSwept)) return addressOf(local_.family, localIp_, local_.port, 0);
  set(kLocalAsked);
  return fd_ >= 0 ? os::sys::localAddress(fd_) : Address();
}

bool Connection::setNoDelay(bool on) {
  return state_ == State::open && !has(kUnix) && os::sys::setNoDelay(fd_, on) == 0;
}

bool Connection::deadPeer(Duration after) {
  if (state_ != State::open || has(kUnix) || !after.valid()) return false;
  return after.count() <= kMostDeadPeer &&
         os::sys::setDeadPeer(fd_, static_cast<int>(after.count())) == 0;
}

bool Connection::setKeepAlive(bool on, Duration initialDelay) {
  if (state_ != State::open || has(kUnix) || !initialDelay.valid()) return false;
  const uint64_t seconds = (initialDelay.count() + 999) / 1000;
  return seconds <= INT16_MAX && os::sys::setKeepAlive(fd_, on, static_cast<int>(seconds)) == 0;
}

}  // namespace warren::net
